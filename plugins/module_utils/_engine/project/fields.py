# SPDX-License-Identifier: BSD-2-Clause
"""Kinds of values: how each is read, how it is kept, and what a JSON Schema says of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .names import NAMESPACE_PREFIXES, is_dns_label
from .quantities import format_bytes, format_cpu, parse_bytes, parse_cpu

Schema = Mapping[str, object]

TEXT: Schema = {"type": "string"}

_IMAGE = re.compile(r"[a-z0-9][a-z0-9.:/_-]*[a-z0-9](?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Of several labels, the last of which does not begin with a digit as in an address. What is put in front of it, in the
# DNS and in names of objects, fits as well.
_HOST = re.compile(r"(?=.{4,240}\Z)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])")
_PROVISIONER = re.compile(r"[a-z0-9]([-a-z0-9./]*[a-z0-9])?")
_HTTPS_ADDRESS = re.compile(r"https://([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?|\[[0-9a-f:]{2,39}\])(:[0-9]{1,5})?")
# A key's id, its alias, or the whole ARN of either.
_KMS_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9:/_.-]{0,255}")
_PEM = re.compile(r"\s*(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+")
_CPU_PATTERN = r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$"
_BYTES_PATTERN = r"^[0-9]{1,6}(Mi|Gi|Ti)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of value. `read` returns it in base units or raises ValueError whose text says what is allowed.

    `write` gives the one notation in which the record keeps it. `schema` is of what a user may write, `stored` of what
    the record keeps: a schema of the API server knows one type per value.
    """

    read: Callable[[object], Any]
    write: Callable[[Any], object]
    schema: Schema
    stored: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a mapping that the user writes, with its meaning in a sentence or two."""

    name: str
    kind: Kind
    about: str


def cpu(least: int) -> Kind:
    """A CPU quantity of at least `least` millicores."""

    def read(value: object) -> int:
        found = parse_cpu(_text(value))
        if found < least:
            raise ValueError(f"at least {format_cpu(least)}")
        return found

    return Kind(
        read=read,
        write=format_cpu,
        schema={"type": ["string", "number"], "pattern": _CPU_PATTERN, "examples": ["500m", "2"]},
        stored=TEXT,
    )


def size(least: int) -> Kind:
    """A memory or storage quantity of at least `least` bytes."""

    def read(value: object) -> int:
        found = parse_bytes(_text(value))
        if found < least:
            raise ValueError(f"at least {format_bytes(least)}")
        return found

    schema = {**TEXT, "pattern": _BYTES_PATTERN, "examples": ["512Mi", "4Gi"]}
    return Kind(read=read, write=format_bytes, schema=schema, stored=TEXT)


def whole(least: int, most: int) -> Kind:
    """A whole number; text of digits will do, because templates make text of numbers."""

    def read(value: object) -> int:
        text = _text(value)
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    schema = {"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^[0-9]{1,12}$"}
    return Kind(read=read, write=int, schema=schema, stored={"type": "integer", "format": "int64"})


def flag() -> Kind:
    """A truth value; the words of YAML 1.1 will do, because templates make text of truth values."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

    def read(value: object) -> bool:
        if isinstance(value, bool):
            return value
        found = words.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise ValueError("true or false")
        return found

    return Kind(read=read, write=bool, schema={"type": "boolean"}, stored={"type": "boolean"})


def choice(*allowed: str) -> Kind:
    """One of some words."""

    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(sorted(allowed)) if allowed else "nothing, as none is defined")
        return str(value)

    return Kind(read=read, write=str, schema={"enum": list(allowed)}, stored={**TEXT, "enum": list(allowed)})


def matching(is_right: Callable[[str], bool], allowed: str, *, pattern: str | None = None) -> Kind:
    """A text for which `is_right` holds; `allowed` says so in words, `pattern` to an editor as far as it can."""

    def read(value: object) -> str:
        # Of what is not there the text is a word, which may well be right.
        if value is None or not is_right(_text(value)):
            raise ValueError(allowed)
        return str(value)

    schema = {**TEXT, "description": allowed, **({"pattern": pattern} if pattern else {})}
    return Kind(read=read, write=str, schema=schema, stored=TEXT)


def of_form(form: re.Pattern[str], allowed: str) -> Kind:
    """A text that has a form as a whole; `allowed` says it in words."""
    return matching(lambda text: form.fullmatch(text) is not None, allowed)


def several(is_right: Callable[[str], bool], allowed: str, *, most: int) -> Kind:
    """A list of such texts, at most `most` of them, each once, in their one order."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            raise ValueError(allowed)
        found = [_text(one) for one in value]
        if len({*found}) < len(found) or not all(map(is_right, found)):
            raise ValueError(allowed)
        return tuple(sorted(found))

    schema = {"type": "array", "items": TEXT, "maxItems": most, "uniqueItems": True, "description": allowed}
    return Kind(read=read, write=list, schema=schema, stored={"type": "array", "items": TEXT})


def _is_own_namespace(text: str) -> bool:
    return is_dns_label(text) and text != "default" and not text.startswith(("kube-", *NAMESPACE_PREFIXES))


def _is_pinned_image(text: str) -> bool:
    pinned = ":" in text.rsplit("/", 1)[-1] and not text.endswith(":latest")
    return pinned and _IMAGE.fullmatch(text) is not None


def label(longest: int = 63) -> Kind:
    """A DNS label."""
    allowed = f"a DNS label of at most {longest} characters: lower-case letters, digits and -, no - at either end"
    pattern = f"^[a-z0-9]([-a-z0-9]{{0,{longest - 2}}}[a-z0-9])?$"
    return matching(lambda text: is_dns_label(text, longest=longest), allowed, pattern=pattern)


OWN_NAMESPACE = matching(
    _is_own_namespace,
    "a DNS label that is neither default nor begins with kube-, as those namespaces are Kubernetes' own, nor with "
    + " or ".join(NAMESPACE_PREFIXES)
    + ", as those of projects and shared clusters do",
)


def is_dns_name(text: str) -> bool:
    """True for one or several labels in lower case, as objects may be named."""
    return _DNS_NAME.fullmatch(text) is not None


DNS_NAME = matching(is_dns_name, "a DNS name such as example.org")
PROVISIONER = of_form(_PROVISIONER, "a provisioner's name such as rancher.io/local-path")
HTTPS_ADDRESS = of_form(_HTTPS_ADDRESS, "an address such as https://vault.example.org:8200, without a path")
KMS_KEY = of_form(
    _KMS_KEY, "the id, the alias or the ARN of a key, such as alias/archives: letters, digits, and : / _ . -"
)
IMAGE = matching(_is_pinned_image, "an image with a tag other than latest, or a digest")
CERTIFICATES = of_form(_PEM, "certificates in PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")


def networks() -> Kind:
    """Networks in CIDR notation, in their one order."""
    allowed = "a list of networks such as 192.0.2.0/24 or 2001:db8::/64"

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(allowed)
        try:
            return tuple(sorted({str(ipaddress.ip_network(_text(one))) for one in value}))
        except ValueError as error:
            raise ValueError(allowed) from error

    schema = {"type": "array", "items": TEXT, "minItems": 1, "description": allowed}
    return Kind(read=read, write=list, schema=schema, stored={"type": "array", "items": TEXT})


A_HOST = "a host name in lower case such as api.example.org"


def is_host(text: str) -> bool:
    """True for a name of several labels, without wildcards, that can be a listener's and a directory's."""
    return _HOST.fullmatch(text) is not None


def hosts(most: int) -> Kind:
    """Host names, at most `most` of them, in their one order."""
    allowed = f"a list of at most {most} host names in lower case such as api.example.org, each once"
    return several(is_host, allowed, most=most)


def _text(value: object) -> str:
    """Text as it is. Of a number too long for Python to write, none, which nothing allows."""
    try:
        return value if isinstance(value, str) else repr(value)
    except ValueError:
        return ""
