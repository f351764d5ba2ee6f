# SPDX-License-Identifier: BSD-2-Clause
"""How one run renders its projects: a new one has the same uid at every look, and the same again takes no time."""

from __future__ import annotations

from collections.abc import Callable

from .objects import Desired
from .project.model import Platform, Project
from .project.names import PENDING_UID, Ref, Uid, new_uid
from .project.placement import Placement
from .render import render
from .render.inputs import Inputs

_Given = tuple[Project, Placement, Uid, str]


def _pending() -> Uid:
    return PENDING_UID


class Rendering:
    """Remembers what was rendered last of each project. Threads may share it as long as each keeps to its projects."""

    def __init__(self, platform: Platform, *, make_uid: Callable[[], Uid] = new_uid) -> None:
        self._platform = platform
        self._make_uid = make_uid
        self._newborn: dict[Ref, Uid] = {}
        self._last: dict[Ref, tuple[_Given, tuple[Desired, ...]]] = {}
        self.inputs = Inputs(platform, render)

    @classmethod
    def for_show(cls, platform: Platform) -> Rendering:
        """For a run that writes nothing: in place of a uid that is not chosen yet stands one that says so."""
        return cls(platform, make_uid=_pending)

    def uid_for(self, ref: Ref) -> Uid:
        """The uid that a project is to get which has none."""
        if ref not in self._newborn:
            self._newborn[ref] = self._make_uid()
        return self._newborn[ref]

    def objects(self, project: Project, placement: Placement, uid: Uid, secret_uid: str) -> tuple[Desired, ...]:
        """Every object of the project, as `render` has them."""
        given = (project, placement, uid, secret_uid)
        last = self._last.get(project.ref)
        if last is not None and last[0] == given:
            return last[1]
        made = render(project, self._platform, placement, uid, secret_uid)
        self._last[project.ref] = (given, made)
        return made
