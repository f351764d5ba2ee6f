# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress, on standard error and in WAL-G's form."""

from __future__ import annotations

import datetime
import sys


def info(text: str) -> None:
    _say("INFO", text)


def warning(text: str) -> None:
    _say("WARNING", text)


def error(text: str) -> None:
    _say("ERROR", text)


def _say(level: str, text: str) -> None:
    now = datetime.datetime.now().astimezone()
    print(f"{level}: {now:%Y/%m/%d %H:%M:%S.%f} {text}", file=sys.stderr, flush=True)
