# SPDX-License-Identifier: BSD-2-Clause
"""What a PostgreSQL was last restored from: a project's record keeps it, or the namespace of a shared cluster."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

TIME, LSN, NAME, LATEST = "time", "lsn", "name", "latest"
TARGETS: Final = (TIME, LSN, NAME, LATEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life after the first, which initdb began.

    `number`: 2 for the first restore; it names the volume, so that the one before is kept. `archive`, `incarnation`,
    `engine`, `backup`: what it is restored from; empty where it begins with nothing. `target`: of which kind `value`
    is; a time is in ISO 8601 with its offset, and `latest` has none. `last_segment`: the last one in the archive; if
    after that no commit is later than the target, the end of the archive is what was meant.
    """

    number: int
    archive: str
    incarnation: str
    engine: str
    backup: str
    target: str
    value: str
    last_segment: str

    @classmethod
    def anew(cls, number: int) -> Life:
        """One that initdb begins, on a volume of its own."""
        return cls(
            number=number, archive="", incarnation="", engine="", backup="", target=LATEST, value="", last_segment=""
        )

    @property
    def is_restored(self) -> bool:
        """False where it begins with nothing."""
        return bool(self.backup)

    def __str__(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Life | None:
        """As a record keeps it; None if there is none in it."""
        try:
            found = json.loads(text)
            made = cls(**{one.name: found[one.name] for one in dataclasses.fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None
        return made if isinstance(made.number, int) and made.target in TARGETS else None
