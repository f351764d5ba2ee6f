# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an archive, as long as its server is stopped: a note that all which was committed has been sent.

It is written by an archiver that was told to stop beside a server that had shut down, and removed before anything of
the next start is sent. Who purges a project goes by it.
"""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from typing import Any

NAME = "end.json"
# Where pg_control has them, whatever the version (src/include/catalog/pg_control.h): the state, and the position of the
# last checkpoint.
_STATE, _CHECKPOINT = 16, 32
SHUT_DOWN = 1


def shutdown_of(data: Path) -> str:
    """The position of the checkpoint with which the server shut down; empty if it did not, or cannot be told.

    Before that checkpoint an archiving server ends its last segment (ShutdownXLOG in xlog.c).
    """
    try:
        control = (data / "global/pg_control").read_bytes()
        (state,), (lsn,) = struct.unpack_from("<i", control, _STATE), struct.unpack_from("<Q", control, _CHECKPOINT)
    except (OSError, struct.error):
        return ""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" if state == SHUT_DOWN else ""


def note_of(lsn: str) -> dict[str, Any]:
    """What is written."""
    return {"version": 1, "lsn": lsn, "at": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
