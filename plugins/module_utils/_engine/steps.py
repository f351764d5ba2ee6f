# SPDX-License-Identifier: BSD-2-Clause
"""A plan, and what became of it. Check mode, diff, drift reports and dashboards read these and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .errors import BackendError, EngineError
from .objects import Body, Desired, ObjectId


class Action(StrEnum):
    """What a step does. `refuse` says that the wanted change cannot be made in place and stops its project."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change to one object, with its reason as a sentence. `before` and `after` hold no secrets."""

    action: Action
    id: ObjectId
    reason: str
    desired: Desired
    before: Body | None

    @property
    def after(self) -> Body:
        """The object as the step leaves it; empty if it is gone."""
        return {} if self.action is Action.DELETE else self.desired.body

    def __str__(self) -> str:
        return f"{self.action} {self.id}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in the order in which they are done; what needs none is only counted."""

    steps: tuple[Step, ...] = ()
    unchanged: int = 0

    @classmethod
    def of(cls, found: Iterable[Step | None]) -> Plan:
        """A plan out of what was found for each object, None where nothing is to be done."""
        answers = tuple(found)
        steps = tuple(step for step in answers if step is not None)
        return cls(steps=steps, unchanged=len(answers) - len(steps))

    @property
    def refusals(self) -> tuple[Step, ...]:
        """The steps that forbid the plan."""
        return tuple(step for step in self.steps if step.action is Action.REFUSE)


class Result(StrEnum):
    """How a project ended.

    `waiting`: all is written, but not all of it was ready when the time was up. `held`: it was left as it is, because
    the same change failed on others.
    """

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    HELD = "held"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a project failed: the step and object, a reason, and the server's status if one answered."""

    step: str
    object: str
    reason: str
    status: int | str | None = None

    @classmethod
    def of(cls, step: str, object: str, error: EngineError) -> Failure:  # noqa: A002 (the field's name)
        """What an error made of a step; of a backend's the reason apart from its code."""
        if isinstance(error, BackendError):
            return cls(step=str(step), object=object, reason=error.reason, status=error.status)
        return cls(step=str(step), object=object, reason=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one project, the steps done before a failure included.

    `final_backup`: of one that is purged, what is kept of it: a key below the platform's prefix in the object store.
    """

    ref: str
    uid: str
    result: Result
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None
    waiting_for: tuple[str, ...] = ()
    held: str = ""
    final_backup: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All outcomes of a run in the order of the refs, the refs that have a record but were not asked for, the costs."""

    outcomes: tuple[Outcome, ...]
    left_alone: tuple[str, ...] = ()
    reads: int = 0
    writes: int = 0

    @property
    def changed(self) -> bool:
        """True if the server answered that something changed (in check mode: if something would)."""
        return any(outcome.steps for outcome in self.outcomes)

    @property
    def succeeded(self) -> bool:
        """True if every project is as it should be."""
        return all(outcome.result in (Result.CHANGED, Result.UNCHANGED) for outcome in self.outcomes)
