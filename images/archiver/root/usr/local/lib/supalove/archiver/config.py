# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archiver is told: files of the engine, read again at every use, so that a change needs no restart."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/supalove/archive/config/archive.json")
CREDENTIALS = Path("/etc/supalove/archive/credentials")
# What opens the store, in the form that every S3 client reads: in an environment it could be listed.
AWS_FILE = CREDENTIALS / "aws"
# 64 hexadecimal digits, with which the contents are encrypted.
ENCRYPTION_KEY = CREDENTIALS / "encryption_key"
SOCKETS = Path("/run/postgresql")
SPOOL = Path("/run/supalove-archive")

INCARNATION = re.compile(r"[0-9]{8}t[0-9]{6}z-[a-z2-7]{8}")


class ConfigError(Exception):
    """A file that the archiver needs is missing or wrong. The text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the archive is and how it is kept. Sizes in bytes.

    `archive`: the name of all incarnations of this PostgreSQL. `rpo_seconds`: the longest until a commit is archived.
    `backup_hours` from one base backup to the next, `full_days` from one full one to the next.
    `rate_limit`: bytes per second that a base backup may send; 0 for any. `encryption` and `kms_key`: how the store is
    asked to encrypt what is written, in the words of S3; not at all if empty.
    """

    endpoint: str
    region: str
    bucket: str
    prefix: str
    archive: str
    engine: str
    rpo_seconds: int
    backup_hours: int
    full_days: int
    rate_limit: int
    ca: str
    encryption: str = ""
    kms_key: str = ""

    @classmethod
    def read(cls, path: Path = CONFIG) -> Config:
        """Raises ConfigError."""
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{one.name: found[one.name] for one in fields(cls) if one.name in found})
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error


def fingerprint_of_key(path: Path = ENCRYPTION_KEY) -> str:
    """Tells one key from another; of 256 random bits it betrays nothing. Raises ConfigError."""
    try:
        return hashlib.blake2b(path.read_bytes().strip(), digest_size=8).hexdigest()
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """Which life of the cluster lies on the volume: `<data directory>.incarnation`, written before that is made.

    `parent`: what it was restored from, as its description in the archive says it; None after initdb.
    """

    id: str
    parent: dict[str, Any] | None

    @classmethod
    def read(cls, data: Path) -> Incarnation:
        """Raises ConfigError."""
        path = data.with_name(f"{data.name}.incarnation")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            made = cls(id=str(found["incarnation"]), parent=found.get("parent"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
        if not INCARNATION.fullmatch(made.id):
            raise ConfigError(f"{path}: {made.id!r} is no incarnation")
        return made
