# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name, shows how far it is, and keeps the result small."""

from __future__ import annotations

import os
import tempfile
import threading
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

LOOK_SECONDS = 1.0
LOCAL = ("local", "ansible.builtin.local")


class ActionModule(ActionBase):
    """The module does the work; without this plugin it only says less."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; where it runs on this machine, show the lines of its progress."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        watched = self._connection.transport in LOCAL and not arguments.get("progress_file")
        if not watched:
            return _without_echo(self._execute_module(module_args=arguments, task_vars=task_vars))
        # mkstemp makes the file 0600.
        handle, path = tempfile.mkstemp(prefix="supalove-progress-")
        os.close(handle)
        stop = threading.Event()
        reader = threading.Thread(target=_show, args=(path, stop), name="progress", daemon=True)
        reader.start()
        try:
            arguments["progress_file"] = path
            return _without_echo(self._execute_module(module_args=arguments, task_vars=task_vars))
        finally:
            stop.set()
            reader.join()
            os.unlink(path)


def _show(path: str, stop: threading.Event) -> None:
    """Display what is appended to the file until told to stop, and then what is left of it."""
    with open(path, encoding="utf-8") as file:
        while True:
            ending = stop.wait(LOOK_SECONDS)
            for line in file.read().splitlines():
                display.display(f"  {line}")
            if ending:
                return


def _without_echo(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """The echo of the arguments is all projects over again."""
    result.pop("invocation", None)
    return result
