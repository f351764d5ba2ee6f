# SPDX-License-Identifier: BSD-2-Clause
"""Vault as a run uses it: all names at once, values one by one, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from ...deadline import Deadline
from ...objects import ObjectId
from ...observed import Applied, Observed
from ...steps import Step
from .apply import apply
from .client import VaultClient
from .observe import observe, path_of


class Store:
    """The secrets of a platform. May be used by threads; counts what it sends."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client

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
        return observe(self._client, deadline=deadline)

    def texts(self, id: ObjectId, *, deadline: Deadline) -> Mapping[str, str] | None:
        """The values of one secret; None if it has none."""
        found = self._client.read(path_of(id), deadline=deadline)
        return None if found is None else found[0]

    def apply(self, step: Step, *, adopt: Callable[[], Mapping[str, str] | None], deadline: Deadline) -> Applied:
        """Do one step; `adopt` gives the values that a new secret takes over, if there are any."""
        return apply(self._client, step, adopt=adopt, deadline=deadline)
