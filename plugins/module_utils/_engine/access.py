# SPDX-License-Identifier: BSD-2-Clause
"""The systems that a run works with. Of the shared clusters it asks so little that several can answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .backends.kubernetes.client import Client
from .deadline import Deadline
from .errors import EngineError
from .observed import Applied, Observed
from .steps import Step


class Databases(Protocol):
    """The shared PostgreSQL clusters of a platform; may be used by several threads."""

    @property
    def reads(self) -> int:
        """Statements sent that read."""

    @property
    def writes(self) -> int:
        """Statements sent that write."""

    def observe(self, clusters: Iterable[str], *, deadline: Deadline) -> Mapping[str, Observed | EngineError]:
        """What is on each cluster, read in one query each; the error of one that cannot be read."""

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        """Do one step; steps on one cluster take turns. Raises BackendError, DeadlineExceeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The ways into a platform."""

    client: Client
    databases: Databases
