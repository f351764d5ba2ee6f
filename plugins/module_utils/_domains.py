# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This file is private to the collection; its interface may change in any release.
"""The options of the module domains, and what they and its files say, as the engine takes it."""

from __future__ import annotations

import datetime
import ipaddress
import os
import typing as t
import urllib.parse

from ._engine.certificates import Certificate
from ._engine.errors import InvalidSpec, Problem
from ._engine.project.model import Platform
from ._engine.project.parse import parse
from ._engine.project.vocabulary import HTTP_ROUTES, PLATFORM_VARIABLE
from ._engine.settings import Settings
from ._gateway import certificate_from
from ._specs import Spec, connection_spec

# In a folder of the domain's name; certbot calls them so, too.
CHAIN, PRIVATE_KEY = "fullchain.pem", "privkey.pem"
DNS_PORT = 53


def domains_spec() -> Spec:
    """The options of the module domains."""
    return {
        **connection_spec(),
        "platform": {"type": "dict", "default": {}},
        "directory": {"type": "path", "required": True},
        "resolvers": {"type": "list", "elements": "str", "default": []},
        "workers": {"type": "int", "default": Settings().workers},
    }


def platform_from(params: t.Mapping[str, t.Any]) -> Platform:
    """The platform, out of the module's arguments. Raises InvalidSpec for one that does not route by names."""
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    if platform.gateway_kind != HTTP_ROUTES:
        path, allowed = (
            f"{PLATFORM_VARIABLE}.gateway_kind",
            f"{HTTP_ROUTES}, as projects' own domains are the gateway's",
        )
        raise InvalidSpec((Problem(path=path, value=platform.gateway_kind, allowed=allowed),))
    return platform


def resolvers_from(params: t.Mapping[str, t.Any]) -> tuple[tuple[str, int], ...]:
    """Address and port of each resolver, out of the module's arguments. Raises InvalidSpec with all that are none."""
    found = [(text, _resolver(text)) for text in params["resolvers"]]
    allowed = "an address such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353"
    wrong = tuple(Problem(path="resolvers", value=text, allowed=allowed) for text, one in found if one is None)
    if wrong:
        raise InvalidSpec(wrong)
    return tuple(one for _text, one in found if one is not None)


def _resolver(text: str) -> tuple[str, int] | None:
    try:
        return str(ipaddress.ip_address(text)), DNS_PORT
    except ValueError:
        pass
    try:
        parts = urllib.parse.urlsplit(f"//{text}")
        address, port = str(ipaddress.ip_address(parts.hostname or "")), parts.port
    except ValueError:
        return None
    is_bare = parts.netloc == text and parts.username is None
    return (address, port) if port and is_bare else None


def certificate_at(directory: str, domain: str, now: datetime.datetime) -> Certificate:
    """The certificate of a domain with its key, out of its folder. Raises InvalidSpec."""
    chain, key = (os.path.join(directory, domain, name) for name in (CHAIN, PRIVATE_KEY))
    options = (f"certificate of {domain}", f"key of {domain}")
    return certificate_from(chain, key, domain, now, options=options)
