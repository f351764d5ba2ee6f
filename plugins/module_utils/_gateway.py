# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This file is private to the collection; its interface may change in any release.
"""What the module gateway is given, in arguments and files, as the engine takes it."""

from __future__ import annotations

import datetime
import ipaddress
import typing as t

from ansible.module_utils.common.yaml import yaml_load_all

from ._engine.certificates import Certificate
from ._engine.credentials import Secret
from ._engine.errors import InvalidSpec, MissingLibrary, Problem
from ._engine.project.model import Platform
from ._engine.project.names import GATEWAY_GROUP, TRAEFIK_GROUP
from ._engine.project.vocabulary import PLATFORM_VARIABLE
from ._engine.render.gateway_pods import Arrival, FrontDoor
from ._engine.render.traefik import Limits
from ._engine.standing import DEFINITION

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

Body = dict[str, t.Any]

# Those whose definitions the gateway brings along.
GROUPS = (GATEWAY_GROUP, TRAEFIK_GROUP)
# The least value of options that are numbers.
LEAST = {"replicas": 1, "memory_mib": 256, "body_mib": 1, "header_kib": 4, "read_timeout": 1, "idle_timeout": 1}


def door_from(params: t.Mapping[str, t.Any], platform: Platform, certificate: Certificate) -> FrontDoor:
    """How the gateway is to be run. Raises InvalidSpec with everything that is wrong."""
    arrival = Arrival(params["arrival"])
    problems = [
        Problem(path=name, value=params[name], allowed=f"a whole number from {least}")
        for name, least in LEAST.items()
        if params[name] < least
    ]
    if platform.domain is None:
        allowed = "the domain under which projects have their names"
        problems.append(Problem(path=f"{PLATFORM_VARIABLE}.domain", value=None, allowed=allowed))
    problems += [*_wrong_address(arrival, params["address"]), *_wrong_networks(params["trusted_networks"])]
    if problems:
        raise InvalidSpec(tuple(problems))
    return FrontDoor(
        certificate=certificate.digest,
        arrival=arrival,
        balancer_class=params["load_balancer_class"] or None,
        address=params["address"] or None,
        annotations={key: str(value) for key, value in params["service_annotations"].items()},
        replicas=params["replicas"],
        memory_mib=params["memory_mib"],
        limits=Limits(
            body_bytes=params["body_mib"] * 1024**2,
            header_bytes=params["header_kib"] * 1024,
            read_seconds=params["read_timeout"],
            idle_seconds=params["idle_timeout"],
            trusted_networks=tuple(params["trusted_networks"]),
        ),
    )


def _wrong_address(arrival: Arrival, address: str | None) -> list[Problem]:
    """The address is kube-vip's: nobody else would keep it."""
    if (arrival is Arrival.KUBE_VIP) != bool(address):
        wanted = (
            "an address with arrival kube_vip" if arrival is Arrival.KUBE_VIP else "none unless arrival is kube_vip"
        )
        return [Problem(path="address", value=address, allowed=wanted)]
    return [] if not address or _is(ipaddress.ip_address, address) else [_no_address(address)]


def _no_address(address: str) -> Problem:
    return Problem(path="address", value=address, allowed="an IP address")


def _wrong_networks(networks: list[str]) -> list[Problem]:
    """A proxy that everybody could be is none."""
    return [
        Problem(
            path="trusted_networks", value=one, allowed="networks of proxies, such as 192.0.2.0/28, and not all of it"
        )
        for one in networks
        if not _is(ipaddress.ip_network, one) or ipaddress.ip_network(one).prefixlen == 0
    ]


def _is(kind: t.Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def definitions_from(paths: list[str]) -> list[Body]:
    """Every definition of the files, in their order. Raises InvalidSpec if one is no definition of the gateway's."""
    found: list[Body] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                read = [one for one in yaml_load_all(file.read()) if one is not None]
        except Exception as error:  # noqa: BLE001 (whatever the parser raises, its file is what is wrong)
            problems.append(Problem(path=path, value=str(error), allowed="a readable file of YAML"))
            continue
        problems += [
            Problem(path=path, value=_named(one), allowed=f"{DEFINITION}s of {' and '.join(GROUPS)} and nothing else")
            for one in read
            if not _is_definition(one)
        ]
        found += read
    if problems:
        raise InvalidSpec(tuple(problems))
    return found


def _is_definition(body: t.Any) -> bool:
    if not isinstance(body, dict) or body.get("kind") != DEFINITION:
        return False
    return (body.get("spec") or {}).get("group") in GROUPS and bool((body.get("metadata") or {}).get("name"))


def _named(body: t.Any) -> str:
    if not isinstance(body, dict):
        return type(body).__name__
    return f"{body.get('kind')}/{(body.get('metadata') or {}).get('name')}"


def certificate_from(
    chain_path: str,
    key_path: str,
    name: str,
    now: datetime.datetime,
    *,
    options: tuple[str, str] = ("certificate", "private_key"),
) -> Certificate:
    """A certificate for a name, which may be a wildcard, and its key. Raises InvalidSpec unless it is for the name, is
    good now, and the key is its own. `options`: what the two files are called in messages.
    """
    certificate, private_key = options
    if _MISSING is not None:
        raise MissingLibrary("cryptography") from _MISSING
    chain, key = _text_of(certificate, chain_path), _text_of(private_key, key_path)
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError:
        raise _wrong(certificate, chain_path, "a file of certificates in PEM, the server's own first") from None
    try:
        public = load_pem_private_key(key.encode(), password=None).public_key()
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # Nothing of what the parser says: it may repeat the key.
        raise _wrong(private_key, key_path, "a file with a private key in PEM, without a password") from None
    is_good = leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc
    # A wildcard stands for one label (RFC 6125, 6.4.3).
    covering = {name, f"*.{name.partition('.')[2]}"}
    checks = (
        (_der(public) == _der(leaf.public_key()), private_key, key_path, f"the key of {chain_path}"),
        (not covering.isdisjoint(_names_of(leaf).split()), certificate, _names_of(leaf), f"one for {name}"),
        (is_good, certificate, _term_of(leaf), "one that is good now"),
    )
    problems = [Problem(path=path, value=value, allowed=allowed) for ok, path, value, allowed in checks if not ok]
    if problems:
        raise InvalidSpec(tuple(problems))
    return Certificate(chain=chain, key=Secret(key))


def _text_of(option: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        raise _wrong(option, path, "a readable file of PEM") from None


def _wrong(option: str, path: str, allowed: str) -> InvalidSpec:
    return InvalidSpec((Problem(path=option, value=path, allowed=allowed),))


def _names_of(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return " ".join(names.get_values_for_type(x509.DNSName))


def _term_of(leaf: x509.Certificate) -> str:
    return f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _der(key: t.Any) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found
