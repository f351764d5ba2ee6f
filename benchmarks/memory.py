# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of a process as the kernel tells it. Not getrusage(2): its peak is inherited from the process that forked."""

from __future__ import annotations

from pathlib import Path


def high_water(status: Path) -> int:
    """Peak resident memory in bytes out of a process' status file (proc(5), VmHWM); 0 of one that is ending."""
    lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0
