# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of the object store by an address that says itself who may read it. The address is a secret."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .work import WorkError

# For each read; how long the whole may take follows from its size.
SECONDS = 60.0
CHUNK = 1024**2


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Where it is read from was decided by who asked."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None


def download(url: str, path: Path, *, authority: str, refuse: Callable[[int], str]) -> int:
    """Fetch a file; its bytes. `authority`: a file of certificates, empty for those of the system.

    `refuse` is asked at the beginning and with every chunk, how many bytes are still to come, and has a reason not to
    go on or none. Raises WorkError, which never has the address in it.
    """
    context = ssl.create_default_context(cafile=authority or None)
    # As the archive engines and boto3 verify: an authority of a site's own need not have every extension of RFC 5280.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    try:
        with opener.open(url, timeout=SECONDS) as answer, path.open("wb") as file:
            length = answer.headers.get("Content-Length", "")
            if not length.isdigit():
                raise WorkError("download: the store does not say how long the file is")
            left = int(length)
            while True:
                reason = refuse(left)
                if reason:
                    raise WorkError(f"download: {reason}")
                chunk = answer.read(CHUNK)
                if not chunk:
                    break
                file.write(chunk)
                left -= len(chunk)
            if left:
                raise WorkError(f"download: it broke off, {left} bytes are missing")
            return int(length)
    except urllib.error.HTTPError as error:
        raise WorkError(f"download: the store answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise WorkError(f"download: {_safe(error.reason, url)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise WorkError(f"download: {_safe(error, url)}") from None


def _safe(reason: object, url: str) -> str:
    """Errors of the library may quote what they were given."""
    said = str(reason) or type(reason).__name__
    return type(reason).__name__ if any(part and part in said for part in (url, url.partition("?")[2])) else said
