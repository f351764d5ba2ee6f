# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment, read once and strictly."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .contract import Failure, contract

KEY_BYTES = 32
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
PREFIX = re.compile(r"s3://([^/]+)(?:/(.*))?")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The variables that were set, and the defaults of the others, as values of their types."""

    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """None if it is neither set nor has a default."""
        return self.values.get(name)

    def bucket_and_prefix(self) -> tuple[str, str]:
        """The prefix ends in a slash unless it is empty."""
        match = PREFIX.fullmatch(self.values["WALG_S3_PREFIX"])
        if match is None:
            raise Failure("WALG_S3_PREFIX: expected s3://bucket/path")
        path = (match[2] or "").strip("/")
        return match[1], f"{path}/" if path else ""

    def key(self) -> bytes | None:
        """The key of libsodium, or None if nothing is encrypted."""
        text, path = self.get("WALG_LIBSODIUM_KEY"), self.get("WALG_LIBSODIUM_KEY_PATH")
        transform = self.get("WALG_LIBSODIUM_KEY_TRANSFORM")
        if text and path:
            raise Failure("WALG_LIBSODIUM_KEY and WALG_LIBSODIUM_KEY_PATH are both set; set one")
        if not text and not path:
            if transform:
                raise Failure("WALG_LIBSODIUM_KEY_TRANSFORM is set, but no key")
            return None
        if not transform:
            raise Failure("WALG_LIBSODIUM_KEY_TRANSFORM is required with a key; allowed: hex, base64")
        return _decode(text or _key_in(path), transform)


def read(environment: Mapping[str, str], needs: Collection[str]) -> Settings:
    """Raises Failure with all faults together; no value of a secret is in it."""
    known: Mapping[str, Mapping[str, Any]] = contract()["variables"]
    prefixes = tuple(contract()["strict_prefixes"])
    faults = [
        f"{name}: WAL-G's stand-in knows no such variable"
        for name in sorted(environment)
        if name.startswith(prefixes) and name not in known
    ]
    values: dict[str, Any] = {}
    for name, line in known.items():
        raw = environment.get(name) or line.get("default")
        if raw is None:
            if line.get("need") in needs and not environment.get(line.get("unless", "")):
                faults.append(f"{name} is required to be set, but it isn't")
            continue
        try:
            values[name] = _value(raw, line)
        except ValueError as error:
            shown = "" if line.get("secret") else f" found {raw!r},"
            faults.append(f"{name}:{shown} {error}")
    if faults:
        raise Failure("; ".join(faults))
    return Settings(values)


def _value(raw: str, line: Mapping[str, Any]) -> Any:
    choices = line.get("choices")
    if choices and raw not in choices:
        raise ValueError(f"allowed in the stand-in: {', '.join(choices)}")
    return PARSERS[line["type"]](raw)


def _bool(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("expected true or false")
    return raw == "true"


def _int(raw: str) -> int:
    if not raw.isascii() or not raw.isdigit():
        raise ValueError("expected a whole number")
    return int(raw)


def _json(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from error


def seconds(raw: str) -> float:
    """A duration as Go writes it.

    >>> seconds("1m30s"), seconds("0")
    (90.0, 0.0)
    """
    if raw == "0":
        return 0.0
    if DURATION.fullmatch(raw) is None:
        raise ValueError("expected a duration such as 90s or 10m")
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", raw))


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "bool": _bool,
    "int": _int,
    "duration": seconds,
    "json": _json,
}


def _key_in(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise Failure(f"WALG_LIBSODIUM_KEY_PATH: cannot read {path}: {error.strerror}") from error


def _decode(text: str, transform: str) -> bytes:
    try:
        key = bytes.fromhex(text) if transform == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Failure(f"while {transform} decoding key: it is not {transform}") from None
    if len(key) != KEY_BYTES:
        raise Failure(f"key must be exactly {KEY_BYTES} bytes (got {len(key)} bytes)")
    return key
