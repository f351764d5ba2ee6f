# SPDX-License-Identifier: BSD-2-Clause
"""The one place that speaks HTTP to an API server. Identity and connections are those of the package kubernetes."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from ...deadline import Backoff, Deadline, retrying
from ...errors import (
    BackendError,
    Conflict,
    Denied,
    EngineError,
    Expired,
    MissingLibrary,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from ...objects import Body
from .connections import Broken, Connections, Response

try:
    import kubernetes.client as _kubernetes_client
    import kubernetes.config as _kubernetes_config
    import urllib3
    import yaml
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None
    # What the package lets through for a file that is no YAML, has other shapes in it or certificates that are none.
    _CONFIG_ERRORS = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError)

JSON = "application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
APPLY_PATCH = "application/apply-patch+yaml"
PAGE = "500"
LIST_TRIES = 3
AGENT = "supalove"
REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 10.0
# The server ends a watch after this time, and we take it up again where it stood.
WATCH_SECONDS = 20
REASON_LENGTH = 300
# A server that has just come back refuses what it allows, because it does not know its own rules and objects yet.
SETTLING_SECONDS = 10.0

_READS = frozenset({"GET"})
_BY_STATUS: dict[int, type[BackendError]] = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 410: Expired}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said to a request that succeeded."""

    status: int
    body: Body


class Client:
    """Requests to one API server; may be shared by threads. Counts what it sends."""

    def __init__(self, api_client: Any, *, backoff: Backoff) -> None:
        self._api_client = api_client
        self._configuration = api_client.configuration
        self._server = urlsplit(self._configuration.host)
        self._pool = api_client.rest_client.pool_manager
        self._connections = Connections(self._open)
        self._backoff = backoff
        self._lock = threading.Lock()
        self._counts = {"reads": 0, "writes": 0}
        self._gone_at = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()
        self._pool.clear()
        self._api_client.close()

    @property
    def reads(self) -> int:
        """Requests sent that read, repetitions included."""
        return self._counts["reads"]

    @property
    def writes(self) -> int:
        """Requests sent that write, repetitions included."""
        return self._counts["writes"]

    def get(
        self,
        path: str,
        *,
        subject: str,
        deadline: Deadline,
        query: dict[str, str] | None = None,
        accept: str = JSON,
    ) -> Body:
        """Read one object. Raises NotFound."""
        return self.send("GET", path, subject=subject, deadline=deadline, query=query, accept=accept).body

    def list(
        self, path: str, *, subject: str, deadline: Deadline, query: dict[str, str], accept: str = JSON
    ) -> list[Body]:
        """All objects of a collection at one point in time, page by page.

        Begins anew, some times, where the server has forgotten that point before the last page; then raises Expired.
        """

        def pages() -> list[Body]:
            found: list[Body] = []
            wanted = {**query, "limit": PAGE}
            while True:
                page = self.send("GET", path, subject=subject, deadline=deadline, query=wanted, accept=accept).body
                found += page.get("items") or ()
                following = page["metadata"].get("continue")
                if not following:
                    return found
                wanted["continue"] = following

        for _more in range(LIST_TRIES - 1):
            with contextlib.suppress(Expired):
                return pages()
        return pages()

    def send(
        self,
        verb: str,
        path: str,
        *,
        subject: str,
        deadline: Deadline,
        query: dict[str, str] | None = None,
        body: Body | None = None,
        content: str = JSON,
        accept: str = JSON,
    ) -> Answer:
        """Send a request that is harmless to repeat, again where that helps, until the deadline."""

        def once() -> Answer:
            deadline.require(f"{verb} {subject}")
            try:
                return self._once(verb, path, subject, query or {}, body, content, accept, deadline)
            except Unreachable:
                self._gone_at = time.monotonic()
                raise
            except (Denied, Rejected) as error:
                if time.monotonic() - self._gone_at > SETTLING_SECONDS:
                    raise
                raise Unreachable(subject=subject, verb=verb, reason=error.reason, status=error.status) from error

        return retrying(once, deadline=deadline, backoff=self._backoff)

    def watch(self, path: str, *, subject: str, query: dict[str, str], deadline: Deadline) -> Watch:
        """Open a watch that ends with the deadline or before. Raises as `send` does, but tries once."""
        deadline.require(f"WATCH {subject}")
        seconds = max(1, min(WATCH_SECONDS, math.ceil(deadline.remaining())))
        wanted = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        silence = min(seconds + REQUEST_SECONDS, max(1.0, deadline.remaining()))
        response = self._stream(path, subject, wanted, silence)
        if response.status != 200:
            data = response.read()
            response.release_conn()
            raise error_of(response.status, response.headers, data, subject, "WATCH")
        return Watch(response, subject)

    def for_stream(self) -> tuple[Any, dict[str, str]]:
        """The package's configuration and the headers that say who we are, for a stream that is none of `send`'s."""
        with self._lock:
            self._counts["reads"] += 1
        return self._configuration, self._authorization()

    def _once(
        self,
        verb: str,
        path: str,
        subject: str,
        query: dict[str, str],
        body: Body | None,
        content: str,
        accept: str,
        deadline: Deadline,
    ) -> Answer:
        timeout = max(0.1, min(REQUEST_SECONDS, deadline.remaining()))
        response = self._request(verb, path, subject, query, body, content, accept, timeout)
        if response.status >= 300:
            raise error_of(response.status, response.headers, response.data, subject, verb)
        return Answer(status=response.status, body=_parsed(response.data, subject, verb, response.status))

    def _request(
        self,
        verb: str,
        path: str,
        subject: str,
        query: dict[str, str],
        body: Body | None,
        content: str,
        accept: str,
        timeout: float,
    ) -> Response:
        headers = {"Host": self._server.netloc, "Accept": accept, "User-Agent": AGENT, **self._authorization()}
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers |= {"Content-Type": content, "Content-Length": str(len(data))}
        self._count("reads" if verb in _READS else "writes")
        try:
            return self._connections.ask(verb, self._target(path, query), headers, data, timeout=timeout)
        except (Broken, urllib3.exceptions.HTTPError) as error:
            raise Unreachable(subject=subject, verb=verb, reason=short(str(error))) from error

    def _stream(self, path: str, subject: str, query: dict[str, str], timeout: float) -> Any:
        """The answer of a watch, of which more and more comes."""
        headers = {"Accept": JSON, "User-Agent": AGENT, **self._authorization()}
        self._count("reads")
        try:
            return self._pool.request(
                "GET",
                f"{self._server.scheme}://{self._server.netloc}{self._target(path, query)}",
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout),
                retries=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(subject=subject, verb="WATCH", reason=short(str(error))) from error

    def _target(self, path: str, query: dict[str, str]) -> str:
        return f"{self._server.path.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")

    def _open(self, timeout: float) -> socket.socket:
        """A connection made by the package's own means: its trust, certificates and proxy."""
        pool = self._pool.connection_from_url(self._configuration.host)
        connection = pool._new_conn()  # noqa: SLF001 - urllib3 1.26 and 2 offer no other way to a configured connection
        connection.timeout = min(CONNECT_SECONDS, timeout)
        if pool.proxy is not None and self._server.scheme == "https":
            pool._prepare_proxy(connection)  # noqa: SLF001 - connects, too
        else:
            connection.connect()
        opened: socket.socket = connection.sock
        return opened

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1

    def _authorization(self) -> dict[str, str]:
        """The package refreshes expiring tokens in here, which it does not guard against threads."""
        with self._lock:
            settings = self._configuration.auth_settings()
        return {
            entry["key"]: entry["value"] for entry in settings.values() if entry["in"] == "header" and entry["value"]
        }


class Watch:
    """Changes of a collection as the server tells them, until it ends the watch or another thread calls `shut`."""

    def __init__(self, response: Any, subject: str) -> None:
        self._response = response
        self._subject = subject
        self._shut = threading.Event()

    def events(self) -> Iterator[Body]:
        """Every event. Raises Expired when the history is gone, Unreachable when the connection breaks."""
        rest = b""
        try:
            for chunk in self._response.stream(amt=65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield self._event(_parsed(line, self._subject, "WATCH", 200))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if not self._shut.is_set():
                raise Unreachable(subject=self._subject, verb="WATCH", reason=short(str(error))) from error
        finally:
            self._response.close()

    def shut(self) -> None:
        """End a blocked read. urllib3 offers this from 2.3 on; before, the watch ends by itself after WATCH_SECONDS."""
        self._shut.set()
        with contextlib.suppress(AttributeError, ValueError, OSError):
            self._response.shutdown()

    def _event(self, event: Body) -> Body:
        if event.get("type") != "ERROR":
            return event
        status = event.get("object", {})
        raise error_of(status.get("code", 500), {}, json.dumps(status).encode(), self._subject, "WATCH")


def connect(*, kubeconfig: str | None, context: str | None, workers: int, backoff: Backoff) -> Client:
    """A client from a kubeconfig file, or from the pod's own service account where there is neither file nor context.

    Raises MissingLibrary without the package kubernetes, EngineError if the configuration cannot be used.
    """
    if _MISSING is not None:
        raise MissingLibrary("kubernetes") from _MISSING
    configuration = _kubernetes_client.Configuration()
    try:
        if kubeconfig is None and context is None:
            _kubernetes_config.load_incluster_config(client_configuration=configuration)
        else:
            _kubernetes_config.load_kube_config(
                config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )
    except (_kubernetes_config.ConfigException, OSError) as error:
        raise EngineError(f"{_no_access(kubeconfig, context)}: {short(str(error))}") from error
    except _CONFIG_ERRORS as error:
        # Its text may quote the file, in which there is a key.
        raise EngineError(f"{_no_access(kubeconfig, context)}: it is not a valid kubeconfig file") from error
    configuration.connection_pool_maxsize = workers + 4
    return Client(_kubernetes_client.ApiClient(configuration=configuration), backoff=backoff)


def _no_access(kubeconfig: str | None, context: str | None) -> str:
    return f"No access to a cluster by kubeconfig {kubeconfig or '(default)'}, context {context or '(current)'}"


def _parsed(data: bytes, subject: str, verb: str, status: int) -> Body:
    """The object that the server sent. Something between us and it may answer in its place, in another language."""
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServerFailed(subject=subject, verb=verb, reason="the answer is not an object in JSON", status=status)
    return body


# Of the admission of quotas (k8s.io/apiserver, plugin/resourcequota).
_EXCEEDED = "exceeded quota: "


def error_of(status: int, headers: Mapping[str, str], data: bytes, subject: str, verb: str) -> BackendError:
    """The error for an HTTP status. A Secret's message is left out, as it may quote what it refuses.

    What a quota does not allow may be allowed in a moment: of one that was just raised the server goes by its status,
    which a controller brings up to date.
    """
    try:
        said = json.loads(data)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    text = said.get("reason") if subject.startswith("Secret/") else said.get("message") or said.get("reason")
    reason = short(str(text or "no reason given"))
    if status in (429, 503) or (status == 403 and _EXCEEDED in reason):
        after = str(headers.get("retry-after") or "")
        seconds = float(after) if after.isdigit() else None
        return Throttled(subject=subject, verb=verb, reason=reason, status=status, retry_after=seconds)
    fallback = ServerFailed if status >= 500 else Rejected
    return _BY_STATUS.get(status, fallback)(subject=subject, verb=verb, reason=reason, status=status)


def short(text: str) -> str:
    """The beginning of a text that is not ours."""
    return text if len(text) <= REASON_LENGTH else text[: REASON_LENGTH - 1] + "…"
