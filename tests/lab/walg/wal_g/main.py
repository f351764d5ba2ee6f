# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: everything that is not in the contract is an error."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from . import delete, fetch, log, wal
from .catalog import backups, detailed
from .contract import Absent, Failure, contract, exit_code, message
from .settings import Settings, read
from .store import Store

VERSION = "wal-g version v3.0.9\tstand-in\tno release of WAL-G\tPostgreSQL"


class Usage(Failure):
    """Words on the command line that the contract does not have."""


def main(words: list[str]) -> int:
    """Exit code."""
    if words == ["--version"]:
        print(VERSION)
        return exit_code("ok")
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    try:
        _run(words)
    except Usage as error:
        print(f"Error: {error}", file=sys.stderr)
        return exit_code("failed")
    except Failure as error:
        log.error(str(error))
        return exit_code("absent" if isinstance(error, Absent) and words[0] == "wal-fetch" else "failed")
    return exit_code("ok")


def parse(words: list[str]) -> tuple[str, list[str], dict[str, Any]]:
    """Command, arguments, flags; a flag that is not given is False or empty."""
    commands: Mapping[str, Any] = contract()["commands"]
    if not words or words[0] not in commands:
        shown = words[0] if words else ""
        raise Usage(f'unknown command "{shown}" for "wal-g"; the stand-in has {", ".join(commands)}')
    name, *rest = words
    known: Mapping[str, str] = commands[name].get("flags", {})
    flags: dict[str, Any] = {flag: False if kind == "bool" else "" for flag, kind in known.items()}
    arguments = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            arguments.append(word)
            continue
        flag, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or flag not in known:
            raise Usage(f"unknown flag: {word}")
        if known[flag] == "bool":
            if equals:
                raise Usage(f"--{flag} takes no value in the stand-in")
            flags[flag] = True
            continue
        if not equals and not rest:
            raise Usage(f"flag needs an argument: --{flag}")
        flags[flag] = value if equals else rest.pop(0)
    least, most = commands[name]["arguments"]
    if not least <= len(arguments) <= most:
        raise Usage(f"{name} accepts between {least} and {most} arg(s), received {len(arguments)}")
    return name, arguments, flags


def _run(words: list[str]) -> None:
    name, arguments, flags = parse(words)
    needs = set(contract()["commands"][name]["needs"])
    if "server?" in needs and not (flags["timeline"] and flags["lsn"]):
        needs.add("server")
    settings = read(os.environ, needs)
    {
        "wal-push": lambda: wal.push(settings, *arguments),
        "wal-fetch": lambda: wal.fetch(settings, *arguments),
        "backup-push": lambda: _push(settings, arguments[0], flags),
        "backup-fetch": lambda: fetch.fetch(settings, *arguments),
        "backup-list": lambda: _list(settings, flags),
        "wal-show": lambda: _show(settings, flags),
        "wal-verify": lambda: _verify(settings, arguments, flags),
        "delete": lambda: delete.delete(
            settings, arguments, confirm=flags["confirm"], use_sentinel_time=flags["use-sentinel-time"]
        ),
    }[name]()


def _push(settings: Settings, directory: str, flags: Mapping[str, Any]) -> None:
    from . import push

    data = settings.get("WALG_SENTINEL_USER_DATA")
    if flags["add-user-data"]:
        try:
            data = json.loads(flags["add-user-data"])
        except ValueError as error:
            raise Failure(f"Failed to unmarshal the provided UserData: {error}") from error
    request = push.Request(
        directory=directory,
        full=flags["full"],
        permanent=flags["permanent"],
        verify=flags["verify"] or settings.get("WALG_VERIFY_PAGE_CHECKSUMS"),
        without_files_metadata=flags["without-files-metadata"] or settings.get("WALG_WITHOUT_FILES_METADATA"),
        user_data=data,
    )
    push.push(settings, request)


def _list(settings: Settings, flags: Mapping[str, Any]) -> None:
    store = Store(settings)
    found = backups(store)
    lines = [detailed(store, backup) if flags["detail"] else backup.listed() for backup in found]
    if flags["json"]:
        print(json.dumps(lines, separators=(",", ":")))
    elif not lines:
        log.info(message("no_backups"))
    else:
        rows = [list(lines[0]), *(list(map(str, line.values())) for line in lines)]
        print("\n".join("\t".join(row) for row in rows))


def _show(settings: Settings, flags: Mapping[str, Any]) -> None:
    if not flags["detailed-json"]:
        raise Usage("wal-show: only --detailed-json is in the stand-in")
    from . import verify

    verify.show(settings, without_backups=flags["without-backups"])


def _verify(settings: Settings, arguments: list[str], flags: Mapping[str, Any]) -> None:
    if not flags["json"]:
        raise Usage("wal-verify: only --json is in the stand-in")
    from . import verify

    verify.verify(settings, arguments, timeline=flags["timeline"], lsn=flags["lsn"])


def _interrupted(number: int, _frame: object) -> None:
    # One is enough: a second must not break the way out.
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    raise Failure(f"received interruption signal: {signal.Signals(number).name}, gracefully stopping")
