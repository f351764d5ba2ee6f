# SPDX-License-Identifier: BSD-2-Clause
"""A digest of all that a project's objects follow from, much cheaper than the objects: a steady run makes none.

Projects of a tier at a place differ in their names, limits and settings of Auth only. So one sample project stands for
how this version of the code renders this tier there on this platform, with settings of Auth one for each choice of
them, and the digest of a project is that of the sample's objects and of the project's own values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from ..objects import Desired, canonical_json
from ..project.auth import sample_of
from ..project.life import Life
from ..project.model import Auth, Platform, Project
from ..project.names import Ref, Uid
from ..project.placement import Placement
from ..project.vocabulary import LIMITS

SAMPLE = Ref("sample")
SAMPLE_UID = Uid("a" * 12)
RESTORED, ANEW = replace(Life.anew(2), backup="sample"), Life.anew(2)

Render = Callable[[Project, Platform, Placement, Uid, str], tuple[Desired, ...]]


class Inputs:
    """Digests for one run; each sample is rendered once."""

    def __init__(self, platform: Platform, render: Render) -> None:
        self._platform = platform
        self._render = render
        self._samples: dict[tuple[str, str, Life | None, bool, Auth], str] = {}

    def digest(self, project: Project, placement: Placement, uid: Uid, secret_uid: str, objects: int) -> str:
        """The digest of one project; `objects` is how many were certified with it."""
        own = [getattr(project, one.name) for one in LIMITS]
        if project.auth != Auth():
            own.append(project.auth)
        told = [self._sample(project, placement), project.ref, uid, secret_uid, objects, placement.life, *own]
        return hashlib.blake2b("\n".join(map(str, told)).encode(), digest_size=16).hexdigest()

    def _sample(self, project: Project, placement: Placement) -> str:
        life = placement.life and (RESTORED if placement.life.is_restored else ANEW)
        auth = sample_of(project.auth)
        key = (project.tier.name, str(placement), life, project.is_stopped, auth)
        if key not in self._samples:
            limits = {one.name: getattr(project.tier, one.name) for one in LIMITS}
            sample = replace(project, ref=SAMPLE, spec={}, is_canary=False, auth=auth, **limits)
            there = replace(placement, life=life, past=())
            objects = self._render(sample, self._platform, there, SAMPLE_UID, "")
            told = [
                [one.body, [repr(login) for login in one.generates], dict(one.fixed), one.fingerprint]
                for one in objects
            ]
            self._samples[key] = hashlib.blake2b(canonical_json(told).encode(), digest_size=16).hexdigest()
        return self._samples[key]
