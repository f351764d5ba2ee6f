# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the server of a restored life starts: the base backup is fetched, and the files say where recovery ends."""

from __future__ import annotations

import datetime
import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from .config import Config, ConfigError
from .engines import Engine, Place, engine_of
from .programs import run

FOLDER = Path("/etc/supalove/restore")
SECONDS = 24 * 3600.0
# The kubelet starts the program again after a failure; these tries spare it that for what passes.
TRIES = 5
PAUSE = 5.0
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
# Of a server that was alive when it was backed up.
LEFT_BEHIND = ("postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "postgresql.auto.conf")


def restore(data: Path, folder: Path = FOLDER) -> str:
    """Put the base backup into place, ready to recover; what was done, in words. Raises ConfigError.

    What is in place is left alone: this runs before every start. Only what is complete gets the name of the data
    directory, and the mark of the new life is written before that.
    """
    if (data / "PG_VERSION").exists():
        return "there are data already"
    try:
        parent: dict[str, Any] = json.loads((folder / "restore.json").read_text(encoding="utf-8"))
        settings = (folder / "recovery.conf").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: {error}") from error
    partial = data.with_name(f"{data.name}.restore")
    _fetch(source_of(parent), str(parent["backup"]), partial)
    for name in LEFT_BEHIND:
        (partial / name).unlink(missing_ok=True)
    (partial / "pg_wal").mkdir(mode=0o700, exist_ok=True)
    _write(partial / "postgresql.auto.conf", settings)
    _write(partial / "recovery.signal", "")
    end = folder / "end.conf"
    if end.exists():
        _write(data.with_name(f"{data.name}.end"), end.read_text(encoding="utf-8"))
    begin_life(data, parent)
    partial.chmod(0o700)
    # Whole before it has the name by which it counts as whole.
    os.sync()
    partial.rename(data)
    os.sync()
    return f"{parent['backup']} of {parent['archive']}/{parent['incarnation']} is in place"


def parent_of(data: Path, parent: dict[str, Any] | None, heartbeat: str) -> dict[str, Any] | None:
    """What the archive says of the life before: up to where this one goes back to it.

    Where that is tells the history that the promotion wrote (https://www.postgresql.org/docs/17/continuous-archiving.html,
    timelines): in its last line the timeline and the position at which it was left. When, the target, or the last
    heartbeat that was recovered.
    """
    if parent is None:
        return None
    histories = sorted((data / "pg_wal").glob("*.history"))
    lines = histories[-1].read_text(encoding="utf-8").splitlines() if histories else []
    left = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if not left:
        raise ConfigError(f"{data}/pg_wal has no history, so this life did not begin with a restore")
    time_of = parent["value"] if parent["target"] == "time" else heartbeat
    return {**parent, "timeline": int(left[-1][0]), "lsn": left[-1][1], "time": time_of}


def source_of(parent: dict[str, Any]) -> Engine:
    """The engine for what is restored from. Raises ConfigError."""
    place = Place(
        config=Config.read(),
        archive=str(parent["archive"]),
        incarnation=str(parent["incarnation"]),
    )
    return engine_of(place, str(parent["engine"]))


def _fetch(engine: Engine, backup: str, partial: Path) -> None:
    for number in range(1, TRIES + 1):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        done = run(engine.restore(backup, partial), environment=engine.environment(), seconds=SECONDS)
        if done.code == 0 and (partial / "PG_VERSION").exists():
            return
        sys.stderr.write(f"supalove-archiver: try {number} of {TRIES}: {done.said or f'exit code {done.code}'}\n")
        time.sleep(PAUSE)
    raise ConfigError(f"the base backup {backup} cannot be fetched: {done.said}")


def begin_life(data: Path, parent: dict[str, Any] | None) -> None:
    """Give the data a new incarnation: `parent` is what they were restored from, if they were."""
    began = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dt%H%M%Sz")
    name = f"{began}-{''.join(secrets.choice(LETTERS) for _letter in range(8))}"
    path = data.with_name(f"{data.name}.incarnation")
    _write(path.with_suffix(".new"), json.dumps({"incarnation": name, "parent": parent}))
    path.with_suffix(".new").rename(path)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o600)
