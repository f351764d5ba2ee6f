# SPDX-License-Identifier: BSD-2-Clause
"""Vault as a run uses it: all names at once, values one by one, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from ...credentials import Secret
from ...deadline import Deadline
from ...generation import NOTHING_GIVEN
from ...objects import ObjectId
from ...observed import Applied, Observed
from ...steps import Step
from ...vault import FOLDERS, Kept
from .apply import apply
from .client import VaultClient
from .observe import below, observe, path_of


class Store:
    """The secrets of a platform. May be used by threads; counts what it sends.

    `folders`: those that it looks into. A login may be allowed no others.
    """

    def __init__(self, client: VaultClient, *, folders: Sequence[str] = FOLDERS) -> None:
        self._client = client
        self._folders = tuple(folders)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def reads(self) -> int:
        """Requests sent that read, repetitions included."""
        return self._client.reads

    @property
    def writes(self) -> int:
        """Requests sent that write."""
        return self._client.writes

    def observe(self, *, deadline: Deadline) -> Observed:
        """Every secret of ours by its name."""
        return observe(self._client, self._folders, deadline=deadline)

    def below(self, folder: str, *, deadline: Deadline) -> tuple[ObjectId, ...]:
        """Every secret in a folder and in those below it."""
        return below(self._client, folder, deadline=deadline)

    def read(self, id: ObjectId, *, deadline: Deadline) -> Kept | None:
        """One secret; None if it has no values."""
        return self._client.read(path_of(id), deadline=deadline)

    def replace(self, id: ObjectId, kept: Kept, *, deadline: Deadline) -> None:
        """Give a secret other values. Raises Conflict if it has a version other than that of `kept` by now."""
        self._client.write(path_of(id), kept.texts, version=kept.version, deadline=deadline)

    def apply(
        self,
        step: Step,
        *,
        adopt: Callable[[], Mapping[str, str] | None],
        given: Mapping[str, Secret] = NOTHING_GIVEN,
        deadline: Deadline,
    ) -> Applied:
        """Do one step; `adopt` gives the values that a new secret takes over, if there are any."""
        return apply(self._client, step, adopt=adopt, given=given, deadline=deadline)
