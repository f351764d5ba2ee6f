# SPDX-License-Identifier: GPL-3.0-or-later
"""Base backups and restores of one database directory, beside pg_basebackup and a plain copy on the same disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.supalove.platform.plugins.module_utils._engine.archive.catalog import Backup
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.life import LATEST, Life
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.postgresql import (
    DATA_MOUNT,
    SOCKET_DIRECTORY,
    USER,
)
from fix_archive import Archived, laid_out, restoring, start
from fix_container import podman

from .cluster import Figures
from .lag import turned
from .servers import (
    ADMIN_DATABASE,
    MIB,
    NONE,
    TIER,
    disk,
    in_container,
    noise,
    object_store,
    one_server,
    seconds_of,
)
from .sizes import Sizes

# What else makes a copy of the data: by name, as the page has it.
BASEBACKUP, PACKED, COPY = "pg_basebackup", "pg_basebackup, tar and zstd", "cp -a"
# And what else brings one back.
UNPACK, COPY_BACK = "tar and zstd", "cp -a back"
SPARE = "spare"
LONGEST_SECONDS = 3600.0
FILL = "CREATE TABLE rows AS SELECT n AS id, {words} AS words FROM generate_series(1, {count}) AS n"
ROW_BYTES = 1024
WORDS = 7


def measure(sizes: Sizes) -> Figures:
    """By each engine in turn: it and the others take turns, then the newest backup is fetched, and the others' copies.

    Every backup is a full one of the same data; it is read out of the machine's memory, where it fits.
    """
    figures: Figures = {"backup": {}, "restore": {}, "stored": {}, "answers": {}}
    with object_store() as store, disk() as place, one_server(store, place) as server:
        with server.archived(NONE) as made:
            made.sql(FILL.format(words=noise(WORDS), count=sizes.backup_mib * MIB // ROW_BYTES), ADMIN_DATABASE)
            made.sql("VACUUM ANALYZE rows", ADMIN_DATABASE)
            figures["postgresql"] = made.sql("SHOW server_version", ADMIN_DATABASE).split()[0]
            figures["bytes"] = int(made.sql("SELECT sum(pg_database_size(oid)) FROM pg_database", ADMIN_DATABASE))
        for engine in sizes.archive_engines:
            with server.archived(engine) as made, _spare(made) as spare:
                _measure_backups(figures["backup"], made, spare, engine, sizes.archive_rounds)
                figures["stored"][engine] = _newest(made).bytes
                _measure_restores(figures, made, spare, engine, sizes.archive_rounds)
    return figures


def newest_life(made: Archived, engine: str) -> Life:
    """A life that begins with the newest base backup, and goes on to the end of the archive."""
    return Life(
        number=2,
        archive=made.archive,
        incarnation=made.incarnation,
        engine=engine,
        backup=_newest(made).name,
        target=LATEST,
        value="",
        last_segment=made.last_segment(),
    )


def _newest(made: Archived) -> Backup:
    (catalog,) = (one for one in made.catalogs() if one.id == made.incarnation)
    return catalog.backups[-1]


@contextlib.contextmanager
def _spare(made: Archived) -> Iterator[Path]:
    """A folder on the volume of the data, for copies."""
    folder = made.directory / "data" / SPARE
    folder.mkdir()
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Something that is timed. `makes`: the folder that it makes anew; what an earlier time has made goes before."""

    act: Callable[[], object]
    makes: str = ""


def _measure_backups(figures: Figures, made: Archived, spare: Path, engine: str, rounds: int) -> None:
    inside = f"{DATA_MOUNT}/{SPARE}"
    tool = ["pg_basebackup", f"--host={SOCKET_DIRECTORY}", "--username=postgres", "--checkpoint=fast"]
    packed = ["--format=tar", "--compress=client-zstd:3", f"--pgdata={inside}/packed"]
    ways = {
        engine: _Way(act=lambda: back_up(made)),
        BASEBACKUP: _Way(act=lambda: in_container(made.server, *tool, f"--pgdata={inside}/plain"), makes="plain"),
        PACKED: _Way(act=lambda: in_container(made.server, *tool, *packed), makes="packed"),
        COPY: _Way(act=lambda: _copy(made.directory / "data/pgdata", spare / "copy"), makes="copy"),
    }
    _in_turns(figures, ways, spare, rounds)


def _measure_restores(figures: Figures, server: Archived, spare: Path, engine: str, rounds: int) -> None:
    """Of the engine also the whole time until a server answers that was started on what was fetched."""
    life = newest_life(server, engine)
    inside = f"{DATA_MOUNT}/{SPARE}"
    unpack = f"mkdir {inside}/unpacked && zstd -dc {inside}/packed/base.tar.zst | tar -xC {inside}/unpacked && sync"
    answers = figures["answers"].setdefault(engine, [])
    ways = {
        engine: _Way(act=lambda: answers.append(_restore(server, engine, life))),
        UNPACK: _Way(act=lambda: in_container(server.archiver, "sh", "-euc", unpack), makes="unpacked"),
        COPY_BACK: _Way(act=lambda: _copy(spare / "copy", spare / "back"), makes="back"),
    }
    _in_turns(figures["restore"], ways, spare, rounds)
    # Of the engine it is noted what was fetched, without the start of the server.
    figures["restore"][engine] = [fetched for fetched, _answered in answers]
    figures["answers"][engine] = [answered for _fetched, answered in answers]


def _in_turns(figures: Figures, ways: Mapping[str, _Way], spare: Path, rounds: int) -> None:
    """Seconds of each by its name."""
    for number in range(rounds):
        for name in turned(tuple(ways), number):
            way = ways[name]
            if way.makes:
                shutil.rmtree(spare / way.makes, ignore_errors=True)
            began = time.perf_counter()
            way.act()
            seconds = seconds_of(began)
            figures.setdefault(name, []).append(seconds)
            print(f"  {name}: {seconds:.1f} s", flush=True)


def back_up(made: Archived) -> None:
    """Ask for a full base backup, and wait for its end, as the engine does. Raises RuntimeError if it fails."""
    ended, done = made.ended("backup"), made.told()["backup"]["done"]
    made.ask("/backup/full")
    made.await_(lambda: made.ended("backup") > ended, "the base backup does not end", LONGEST_SECONDS)
    if made.told()["backup"]["done"] == done:
        raise RuntimeError(made.told()["backup"]["error"])


def fetch(made: Archived) -> float:
    """Seconds of the program that fetches the base backup. Raises RuntimeError if it fails."""
    began = time.perf_counter()
    id = restoring(made)
    done = subprocess.run(["podman", "wait", id], capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS)
    if done.stdout.strip() != "0":
        raise RuntimeError(podman("logs", id))
    return seconds_of(began)


def _restore(before: Archived, engine: str, life: Life) -> tuple[float, float]:
    """Seconds until the backup is fetched, and until a server on it answers."""
    place = before.directory.parent
    with laid_out(before.store, engine, life=life, before=before, place=place, tier=TIER) as made:
        began = time.perf_counter()
        fetched = fetch(made)
        start(made)
        made.await_(made.is_up, "PostgreSQL did not get ready", LONGEST_SECONDS)
        return fetched, seconds_of(began)


def _copy(source: Path, target: Path) -> None:
    """And wait for the disk. A file that goes while it is copied is no matter here, and cp then ends with 1."""
    done = subprocess.run(["cp", "-a", str(source), str(target)], check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    subprocess.run(["sync", "--file-system", str(target)], check=True)
