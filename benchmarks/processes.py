# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes cost, as the kernel tells it in /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def high_water(process: Path) -> int:
    """Peak resident memory in bytes of one process by its folder in /proc; 0 of one that is ending.

    Not getrusage(2): its peak is inherited from the process that forked.
    """
    return _status(process, "VmHWM:")


def resident(pid: int) -> int:
    """Resident memory in bytes of a process as it is now."""
    return _status(Path(f"/proc/{pid}"), "VmRSS:")


def peak_memory(word: str) -> int:
    """Peak resident memory in bytes of the largest process with `word` in its command line; 0 if there is none."""
    return max((high_water(process) for process, line in _processes() if word in line), default=0)


def cpu_seconds(folder: Path) -> float:
    """Processor time so far of the programs that were started out of a folder."""
    ticks = sum(_ticks(process) for process, line in _processes() if line.startswith(f"{folder}/"))
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of(pid: int) -> float:
    """Processor time so far of one process."""
    return _ticks(Path(f"/proc/{pid}")) / os.sysconf("SC_CLK_TCK")


def _status(process: Path, key: str) -> int:
    lines = [line.split() for line in (process / "status").read_text().splitlines() if line.startswith(key)]
    return int(lines[0][1]) * 1024 if lines else 0


def _processes() -> Iterator[tuple[Path, str]]:
    """Every process that is there, with its command line; one that ends meanwhile is left out."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                (entry / "status").stat()
            except OSError:
                continue
            yield entry, line


def _ticks(process: Path) -> int:
    # The name of the program, in brackets, may hold spaces; user and system time are the 14th and 15th field.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
