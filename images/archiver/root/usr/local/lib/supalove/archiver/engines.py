# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive engines: how each is called, and what its exit codes mean. They decide nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .config import AWS_FILE, ENCRYPTION_KEY, SOCKETS, Config, ConfigError, Incarnation
from .sql import SESSION

# The certificates of the object store's authority, for programs that want a file.
AUTHORITY = Path(os.environ.get("TMPDIR", "/tmp")) / "object-store-ca.pem"
# Of a backup that waits for its last WAL: archiving is broken then.
STOP_BACKUP_SECONDS = 600
# What both engines say of a WAL file that is there already, and is another one.
DIFFERS = "already archived, contents differ"
# As many deltas as follow upon a full backup at most.
DELTA_STEPS = 6


class Engine(Protocol):
    """Command lines of one engine."""

    @property
    def missing(self) -> int:
        """Exit code of `fetch` for a file that is not there."""

    def environment(self) -> Mapping[str, str]:
        """Where the archive is, and what opens it."""

    def push(self, path: Path) -> list[str]:
        """Store a WAL file; again with the same content is fine, with another it fails."""

    def fetch(self, name: str, destination: Path) -> list[str]:
        """Get a WAL file."""

    def fetch_series(self) -> list[str]:
        """Get one WAL file after another, as lines of the input ask for them: a name, a space and the destination.

        A line of the output says of each that it is there. Empty if the engine has no such program.
        """

    def backup(self, data: Path, *, full: bool) -> list[str]:
        """Make a base backup."""

    def restore(self, name: str, data: Path) -> list[str]:
        """Get a base backup into an empty directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An incarnation's prefix in the store."""

    config: Config
    archive: str
    incarnation: str

    @classmethod
    def of(cls, data: Path) -> Place:
        """Where the life that lies in a data directory is archived. Raises ConfigError."""
        config = Config.read()
        return cls(config=config, archive=config.archive, incarnation=Incarnation.read(data).id)

    @property
    def url(self) -> str:
        """Of the incarnation."""
        return f"s3://{self.config.bucket}/{self.key}"

    @property
    def key(self) -> str:
        """Below the bucket."""
        return f"{self.config.prefix}/{self.archive}/{self.incarnation}"

    def aws(self) -> dict[str, str]:
        """The variable that every S3 client knows."""
        return {"AWS_SHARED_CREDENTIALS_FILE": str(AWS_FILE)}

    def authority(self) -> str:
        """The file of certificates; empty for those of the system."""
        if not self.config.ca:
            return ""
        if not AUTHORITY.exists() or AUTHORITY.read_text(encoding="utf-8") != self.config.ca:
            AUTHORITY.write_text(self.config.ca, encoding="utf-8")
        return str(AUTHORITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalG:
    """WAL-G: https://github.com/wal-g/wal-g, docs/PostgreSQL.md and STORAGES.md."""

    place: Place
    missing: int = 74

    def environment(self) -> Mapping[str, str]:
        """Everything is told by variables."""
        config, authority = self.place.config, self.place.authority()
        return {
            **self.place.aws(),
            "AWS_REGION": config.region,
            "AWS_ENDPOINT": config.endpoint,
            "AWS_S3_FORCE_PATH_STYLE": "true",
            **({"WALG_S3_CA_CERT_FILE": authority} if authority else {}),
            "WALG_S3_PREFIX": self.place.url,
            **({"WALG_S3_SSE": config.encryption} if config.encryption else {}),
            **({"WALG_S3_SSE_KMS_ID": config.kms_key} if config.kms_key else {}),
            "WALG_COMPRESSION_METHOD": "zstd",
            "WALG_LIBSODIUM_KEY_PATH": str(ENCRYPTION_KEY),
            "WALG_LIBSODIUM_KEY_TRANSFORM": "hex",
            "WALG_PREVENT_WAL_OVERWRITE": "true",
            "WALG_DELTA_MAX_STEPS": str(DELTA_STEPS),
            "WALG_STOP_BACKUP_TIMEOUT": f"{STOP_BACKUP_SECONDS}s",
            # The archiver tries again itself, and then it is seen that it has to.
            "WALG_S3_MAX_RETRIES": "3",
            # The archiver itself sends several segments at once.
            "TOTAL_BG_UPLOADED_LIMIT": "0",
            "WALG_UPLOAD_CONCURRENCY": "2",
            # With more it leaves a process behind that fetches ahead, which nobody waits for (forkPrefetch), and which
            # takes what a broken download has left for a whole file (prefetchFile). The archiver itself fetches ahead.
            "WALG_DOWNLOAD_CONCURRENCY": "1",
            **({"WALG_NETWORK_RATE_LIMIT": str(config.rate_limit)} if config.rate_limit else {}),
            "PGHOST": str(SOCKETS),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "PGOPTIONS": SESSION,
        }

    def push(self, path: Path) -> list[str]:
        """`wal-push`; with equal content a second time is fine (WALG_PREVENT_WAL_OVERWRITE)."""
        return ["wal-g", "wal-push", str(path)]

    def fetch(self, name: str, destination: Path) -> list[str]:
        """`wal-fetch`."""
        return ["wal-g", "wal-fetch", name, str(destination)]

    def fetch_series(self) -> list[str]:
        """It has none, and starts in no time."""
        return []

    def backup(self, data: Path, *, full: bool) -> list[str]:
        """`backup-push`; a delta upon the last backup unless `full`."""
        return ["wal-g", "backup-push", *(["--full"] if full else []), str(data)]

    def restore(self, name: str, data: Path) -> list[str]:
        """`backup-fetch`; the backups that a delta builds on are found by the engine."""
        return ["wal-g", "backup-fetch", str(data), name]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarmanCloud:
    """Barman Cloud: the manual pages of barman-cloud-backup and its siblings. It has full backups only."""

    place: Place
    # Of supalove-barman; Barman's own, 1, is also that of a Python that fails.
    missing: int = 74

    # The server's folder below the incarnation's.
    SERVER = "pg"

    def environment(self) -> Mapping[str, str]:
        """boto3's and libpq's variables."""
        authority = self.place.authority()
        return {
            **self.place.aws(),
            "AWS_DEFAULT_REGION": self.place.config.region,
            **({"AWS_CA_BUNDLE": authority} if authority else {}),
            "PGOPTIONS": SESSION,
        }

    def push(self, path: Path) -> list[str]:
        """`barman-cloud-wal-archive`; with equal content a second time is fine."""
        return ["supalove-barman", "wal-archive", "--gzip", *self._encrypted(), *self._there(), str(path)]

    def fetch(self, name: str, destination: Path) -> list[str]:
        """`barman-cloud-wal-restore`."""
        return ["supalove-barman", "wal-restore", "--no-partial", *self._there(), name, str(destination)]

    def fetch_series(self) -> list[str]:
        """Ours: most of what Barman does for a segment is to start Python and its client."""
        return ["supalove-barman", "wal-restore-series", "--no-partial", *self._there()]

    def backup(self, data: Path, *, full: bool) -> list[str]:  # noqa: ARG002 (every one is full, of the server's own directory)
        """`barman-cloud-backup`."""
        limit = self.place.config.rate_limit
        limited = ["--max-bandwidth", str(limit)] if limit else []
        session = ["--host", str(SOCKETS), "--user", "postgres", "--dbname", "postgres", "--jobs", "1"]
        return ["supalove-barman", "backup", "--gzip", *limited, *session, *self._encrypted(), *self._there()]

    def restore(self, name: str, data: Path) -> list[str]:
        """`barman-cloud-restore`."""
        return ["supalove-barman", "restore", *self._there(), name, str(data)]

    def _encrypted(self) -> list[str]:
        config = self.place.config
        key = ["--sse-kms-key-id", config.kms_key] if config.kms_key else []
        return ["--encryption", config.encryption, *key] if config.encryption else []

    def _there(self) -> list[str]:
        return ["--endpoint-url", self.place.config.endpoint, self.place.url, self.SERVER]


def engine_of(place: Place, name: str) -> Engine:
    """The engine of a name. Raises ConfigError."""
    if name == "wal-g":
        return WalG(place=place)
    if name == "barman-cloud":
        return BarmanCloud(place=place)
    raise ConfigError(f"engine {name!r} is none of wal-g, barman-cloud")
