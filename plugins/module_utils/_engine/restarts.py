# SPDX-License-Identifier: BSD-2-Clause
"""When a part of a project that is down may be restarted, by what is noted of the restarts before. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .backends.kubernetes.readiness import READY, State, readiness_of
from .objects import Body, ObjectId

DAY = timedelta(hours=24)
FIRST = timedelta(minutes=1)
LONGEST = timedelta(hours=1)
# So long it has to be up for the wait to begin anew with FIRST.
STEADY = timedelta(minutes=15)
# A row longer than this waits no longer.
LONGEST_ROW = 20
WHY_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`enabled`: whether anything is restarted at all. `most_a_day`: of one part; after that a person has to look.

    `at_once`: how many parts of all projects by one run; if more go down at once, what they have in common is to be
    mended first.
    """

    enabled: bool = True
    most_a_day: int = 5
    at_once: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """The restarts of one Deployment. `row`: how many since it was last up for long; `times`: those of the last day."""

    row: int = 0
    times: tuple[datetime, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        times = [one.isoformat(timespec="seconds") for one in self.times]
        return json.dumps({"row": self.row, "times": times, "why": self.why}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Restarts:
        """As it was noted, and in bounds. What cannot be read, or has no offset in its times, is none."""
        try:
            said = json.loads(text)
            times = tuple(datetime.fromisoformat(one) for one in said["times"])
            row = min(max(int(said["row"]), 0), LONGEST_ROW)
            found = cls(row=row, times=times, why=str(said["why"])[:WHY_LENGTH])
        except (ValueError, KeyError, TypeError, OverflowError):
            return cls()
        return found if all(one.tzinfo is not None for one in times) else cls()

    def and_one(self, now: datetime, *, up_for: timedelta | None, why: str) -> Restarts:
        """With one more, now."""
        row = min(self._row(up_for) + 1, LONGEST_ROW)
        return Restarts(row=row, times=(*self._of_a_day(now), now), why=why[:WHY_LENGTH])

    def last(self, now: datetime) -> datetime | None:
        """The latest of the last 24 hours."""
        return max(self._of_a_day(now), default=None)

    def why_not(self, now: datetime, *, up_for: timedelta | None, rules: Rules) -> str:
        """Why there is not to be one more now; empty if there is. `up_for`: how long it was up until now, if it was.

        1. No more than `rules.most_a_day` in 24 hours.
        2. After the last one FIRST has to pass, then twice as long each time, LONGEST at most.
        3. That begins anew once it was up for STEADY.
        """
        today = self._of_a_day(now)
        if len(today) >= rules.most_a_day:
            return f"it was restarted {len(today)} times in 24 hours, which did not help; look at its log"
        row = self._row(up_for)
        if not today or not row:
            return ""
        due = today[-1] + min(LONGEST, FIRST * 2 ** (min(row, LONGEST_ROW) - 1))
        return f"it was restarted at {today[-1]:%T} UTC, and is not again before {due:%T} UTC" if now < due else ""

    def _of_a_day(self, now: datetime) -> tuple[datetime, ...]:
        """Those of the last 24 hours; what a clock has that is further ahead is none."""
        return tuple(one for one in self.times if abs(now - one) < DAY)

    def _row(self, up_for: timedelta | None) -> int:
        return 0 if up_for is not None and up_for >= STEADY else self.row


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What is behind a project's services: the StatefulSet of its database, and Deployments. None: it is not there."""

    server_id: ObjectId
    server: Body | None
    pooler: Body | None


def cause_of(behind: Behind) -> str:
    """Why a restart of a service would not help, as what it needs is not there; empty if all of it is."""
    if behind.server is None:
        return f"the database is the cause: {behind.server_id} does not exist"
    readiness = readiness_of(behind.server)
    wanted = behind.server["spec"].get("replicas", 1)
    if readiness is not READY or not wanted:
        return f"the database is the cause: {behind.server_id}: {readiness.reason or 'it is stopped'}"
    return ""


def is_dead(deployment: Body | None) -> bool:
    """True for a Deployment that should have pods, of which none is ready."""
    if deployment is None or not deployment["spec"].get("replicas", 1):
        return False
    return not (deployment.get("status") or {}).get("availableReplicas", 0)


def unmoved(deployment: Body | None) -> str:
    """Why a Deployment is not to be restarted now, by itself; empty if it may be."""
    if deployment is None:
        return "its Deployment does not exist; run projects.yml with supalove_drift=full"
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    if not wanted:
        return "its Deployment is stopped"
    readiness = readiness_of(deployment)
    # Pods that are all new and not ready have nothing more to come.
    is_through = (
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("replicas", 0) <= status.get("updatedReplicas", 0)
    )
    if readiness.state is State.WAITING and not is_through:
        return f"it is being restarted already: {readiness.reason}"
    return ""


def culprits(down: Sequence[str], behind: Behind, *, pooler: str) -> tuple[str, ...]:
    """The Deployments to restart: the services that are down, or the pooler in their place if none of it is ready."""
    return (pooler,) if is_dead(behind.pooler) else tuple(down)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A part that may be restarted by its own rules. `last`: when it was so before, if on this day.

    `since`: since when its project had not been well when it was looked at before; empty if it was, or nobody had.
    """

    ref: str
    part: str
    since: str = ""
    last: datetime | None = None


def held_back(due: Sequence[Due], rules: Rules) -> dict[tuple[str, str], str]:
    """Which of the due, by ref and part, are not restarted all the same, and why. No more than `rules.at_once` are.

    1. None of what was well before, if that is more: it has a cause in common.
    2. What was not well before, as far as there is room then: what was restarted longest ago first, so that parts which
       no restart mends take nobody's turn.
    """
    fresh = [one for one in due if not one.since]
    standing = sorted((one for one in due if one.since), key=_turn)
    cause = _common_cause(fresh, rules)
    room = rules.at_once if cause else rules.at_once - len(fresh)
    wait = f"no more than {rules.at_once} are restarted by one run, and it is not its turn yet"
    held = [(one, cause) for one in fresh if cause] + [(one, wait) for one in standing[max(0, room) :]]
    return {(one.ref, one.part): why for one, why in held}


def _turn(one: Due) -> tuple[float, str, str, str]:
    return (one.last.timestamp() if one.last else 0.0, one.since, one.ref, one.part)


def _common_cause(fresh: Sequence[Due], rules: Rules) -> str:
    if len(fresh) <= rules.at_once:
        return ""
    count = len({one.ref for one in fresh})
    return (
        f"{len(fresh)} parts of {count} projects went down at once, and no more than {rules.at_once} are restarted: "
        "look for what they have in common, or raise restart_limit"
    )
