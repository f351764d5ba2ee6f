# SPDX-License-Identifier: BSD-2-Clause
"""Is each project there for its clients? Asked as they ask, through the gateway; what is down is restarted."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from .backends.gateway.client import Gateway
from .backends.kubernetes import records
from .backends.kubernetes.client import Client
from .backends.kubernetes.health import Health, write_health
from .backends.kubernetes.records import STOPPED, Record
from .backends.kubernetes.secrets import read_secret
from .credentials import Secret
from .deadline import Deadline
from .errors import DeadlineExceeded, EngineError, InvalidSpec, NotFound, Rejected, SafetyStop, Unreachable
from .guard import unknown_names
from .healing import Down, Treatment, heal
from .objects import ObjectId, SecretKey
from .parallel import in_parallel
from .progress import Counter, Progress
from .project.model import Platform
from .project.names import RECORD_KIND, Ref, namespace_of
from .project.vocabulary import ABSENT
from .render.context import Context
from .restarts import Rules
from .service_health import PATHS, Finding, State, finding_of, why_of, worst
from .service_keys import REST
from .settings import Settings

ANON_KEY = "anon.key"
# A token: whatever else is there does not go into a header.
TOKEN = re.compile(r"[A-Za-z0-9._-]+")
# If nobody gets through to the gateway for so many projects, nor for as many of all others, these are not asked.
SAMPLE = 3
POLL_SECONDS = 2.0
MESSAGE_LENGTH = 500
# A restart and its outcome are written down also when the run's time is up.
NOTE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`tries` of a probe, `pause_seconds` apart, before it counts; then so long for what was restarted to be up."""

    tries: int = 3
    pause_seconds: float = 3.0
    recovery_seconds: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One project. `state`: None if it was not asked, for which `error` or `skipped` says why.

    `why`: which parts are not up and what is done about it, or is not and why. `restarted`: Deployments.
    """

    ref: str
    state: State | None = None
    parts: Mapping[str, Finding] = field(default_factory=dict)
    why: str = ""
    restarted: tuple[str, ...] = ()
    skipped: str = ""
    error: str = ""

    @property
    def is_well(self) -> bool:
        """False if somebody has to look at it. Of one that is limited nobody knows."""
        return not self.error and self.state in (None, State.UP, State.LIMITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What was found, in the order of the refs. `changed`: something was restarted or noted (checking: would be)."""

    checked: tuple[Checked, ...]
    changed: bool = False


def check_health(
    client: Client,
    platform: Platform,
    gateway: Gateway,
    *,
    refs: Collection[str] | None,
    rules: Rules,
    patience: Patience,
    settings: Settings,
    progress: Progress,
) -> HealthReport:
    """Ask the services of projects (all that have some, if `refs` is None), and restart what is down.

    1. A part is up if one of its probes says so; what counts else is the last one.
    2. Where nobody gets through to the gateway, nothing is known of projects: that is raised and nothing is done.
    3. The record notes what was found before anything is restarted, and again when it is up.

    Raises InvalidSpec for refs without services, Unreachable, BackendError if the records cannot be read.
    """
    job = _Job(
        client=client,
        platform=platform,
        gateway=gateway,
        patience=patience,
        settings=settings,
        progress=progress,
        deadline=Deadline(limit_seconds=settings.timeout_seconds),
    )
    served = _served(job, refs)
    asked = [record for record in served if not _is_stopped(record)]
    found = job.note(job.probe_all(asked), {}, only_turns=True)
    treatments = job.treat([one for one in found.values() if one.down], rules)
    found = job.note(job.await_recovery(found, treatments), treatments, only_turns=False)
    skipped = [Checked(ref=one.ref, skipped="it is stopped") for one in served if _is_stopped(one)]
    checked = [*skipped, *(_checked(one, treatments.get(ref, Treatment())) for ref, one in found.items())]
    changed = any(one.noted for one in found.values()) or any(one.restarted for one in treatments.values())
    return HealthReport(checked=tuple(sorted(checked, key=lambda one: one.ref)), changed=changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is known of one project by now. `noted`: what this run has written into its record, if anything."""

    record: Record
    host: str
    key: Secret | None = None
    parts: Mapping[str, Finding] = field(default_factory=dict)
    noted: Health | None = None
    error: str = ""

    @property
    def state(self) -> State | None:
        return worst(one.state for one in self.parts.values()) if self.parts and not self.error else None

    @property
    def down(self) -> tuple[str, ...]:
        return tuple(part for part, one in sorted(self.parts.items()) if one.state is State.DOWN)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Parts that are worth another probe."""
        if self.error:
            return ()
        return tuple(part for part in PATHS if part not in self.parts or self.parts[part].state is not State.UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    client: Client
    platform: Platform
    gateway: Gateway
    patience: Patience
    settings: Settings
    progress: Progress
    deadline: Deadline

    def probe_all(self, asked: list[Record]) -> dict[Ref, _Found]:
        """Some first, so that a gateway that is away costs no more than these; what these have alone is theirs."""
        self.progress.note(f"asking {len(asked)} projects through the gateway")
        found = self._probe(asked[:SAMPLE])
        if _is_away(found):
            found |= self._probe(_spread(asked[SAMPLE:]))
            self._refuse_no_gateway(found)
        found |= self._probe([one for one in asked if one.ref not in found])
        return {one.ref: found[one.ref] for one in asked}

    def treat(self, down: Collection[_Found], rules: Rules) -> dict[Ref, Treatment]:
        """Restart what is down."""
        if not down:
            return {}
        self.progress.note(f"{len(down)} projects are down")
        return heal(
            self.client,
            self.platform.namespace,
            [Down(record=one.record, parts=one.down, why=why_of(one.parts)) for one in down],
            rules=rules,
            now=datetime.now(UTC),
            settings=self.settings,
            progress=self.progress,
            deadline=self.deadline,
        )

    def await_recovery(self, found: Mapping[Ref, _Found], treatments: Mapping[Ref, Treatment]) -> dict[Ref, _Found]:
        """Until all that was restarted is up again, or patience ends."""
        after = dict(found)
        restarted = [ref for ref, one in treatments.items() if one.restarted]
        if self.settings.check or not restarted:
            return after
        self.progress.note(f"waiting for what was restarted of {len(restarted)} projects")
        limit = Deadline(limit_seconds=min(self.patience.recovery_seconds, self.deadline.remaining()))
        while restarted and limit.remaining() > POLL_SECONDS:
            time.sleep(POLL_SECONDS)
            for one in self._ask_each(after[ref] for ref in restarted):
                after[one.record.ref] = one
            restarted = [ref for ref in restarted if after[ref].down]
        return after

    def note(
        self, found: Mapping[Ref, _Found], treatments: Mapping[Ref, Treatment], *, only_turns: bool
    ) -> dict[Ref, _Found]:
        """Write what was found into the records that say something else; in check mode only see which these are.

        `only_turns`: only where a project has become healthy, or ceased to be.
        """
        deadline = Deadline(limit_seconds=max(self.deadline.remaining(), NOTE_SECONDS))

        def note(one: _Found) -> _Found:
            before = one.noted or Health.of(one.record)
            cause = treatments[one.record.ref].cause if one.down and one.record.ref in treatments else ""
            wanted = _health_of(one, cause, before, datetime.now(UTC))
            turns = before is None or wanted is None or before.is_healthy != wanted.is_healthy
            if wanted is None or wanted == before or (only_turns and not turns):
                return one
            try:
                if not self.settings.check:
                    write_health(self.client, self._record_id(one), wanted, deadline=deadline)
            except EngineError as error:
                return replace(one, error=f"its health could not be noted: {error}")
            return replace(one, noted=wanted)

        return {one.record.ref: one for one in in_parallel(note, found.values(), workers=self.settings.workers)}

    def _record_id(self, one: _Found) -> ObjectId:
        return ObjectId(kind=RECORD_KIND, namespace=self.platform.namespace, name=one.record.ref)

    def _refuse_no_gateway(self, found: Mapping[Ref, _Found]) -> None:
        """One error for what is the matter of no project."""
        if _is_away(found):
            first = next(one for one in found.values() if one.state is State.UNREACHABLE)
            reason = f"{first.parts[REST].why}; nothing is known of any project, and nothing restarted"
            raise Unreachable(
                subject=f"https://{first.host} at {self.gateway.place_of(first.host)}", verb="GET", reason=reason
            )

    def _probe(self, asked: list[Record]) -> dict[Ref, _Found]:
        """Each project's parts, again and again until they are up or have had their tries."""
        counter = Counter(self.progress, "projects asked", len(asked))
        pending = in_parallel(self._begin, asked, workers=self.settings.workers)
        found = {one.record.ref: one for one in pending}
        for number in range(self.patience.tries):
            pending = [one for one in found.values() if one.unsettled]
            if not pending or (number and self.deadline.remaining() <= self.patience.pause_seconds):
                break
            if number:
                time.sleep(self.patience.pause_seconds)
            found |= {one.record.ref: one for one in self._ask_each(pending, None if number else counter)}
        return found

    def _begin(self, record: Record) -> _Found:
        host = _host_of(record)
        try:
            return _Found(record=record, host=host, key=self._key_of(record.ref))
        except EngineError as error:
            return _Found(record=record, host=host, error=str(error))

    def _key_of(self, ref: Ref) -> Secret:
        place = SecretKey(namespace=namespace_of(ref), secret=Context.CREDENTIALS, key=ANON_KEY)
        key = read_secret(self.client, place, deadline=self.deadline)
        if not TOKEN.fullmatch(key.reveal()):
            raise Rejected(subject=str(place), verb="GET", reason="it is no token")
        return key

    def _ask_each(self, pending: Iterable[_Found], counter: Counter | None = None) -> list[_Found]:
        def ask(one: _Found) -> _Found:
            asked = self._ask(one)
            if counter is not None:
                counter.add()
            return asked

        return in_parallel(ask, pending, workers=self.settings.workers)

    def _ask(self, one: _Found) -> _Found:
        parts = dict(one.parts)
        for part in one.unsettled:
            try:
                self.deadline.require(f"asking {one.host}")
            except DeadlineExceeded as error:
                return one if one.parts else replace(one, error=str(error))
            parts[part] = finding_of(self.gateway.ask(one.host, PATHS[part], one.key))
            if parts[part].state is State.UNREACHABLE:
                # So are the others.
                return replace(one, parts={**dict.fromkeys(PATHS, parts[part]), **parts})
        return replace(one, parts=parts)


def _is_away(found: Mapping[Ref, _Found]) -> bool:
    """Whether nobody got through to the gateway, of those that could be asked."""
    states = {one.state for one in found.values()} - {None}
    return states == {State.UNREACHABLE}


def _spread(rest: list[Record]) -> list[Record]:
    """A few from the whole of the list, the last one among them."""
    return rest[:: -max(1, len(rest) // SAMPLE)][:SAMPLE]


def _served(job: _Job, refs: Collection[str] | None) -> list[Record]:
    """Those of the records that have services, or of these the chosen ones."""
    try:
        known = records.read_records(job.client, job.platform.namespace, deadline=job.deadline)
    except NotFound as error:
        raise SafetyStop(
            f"The platform is not prepared ({error}). Run the module supalove.platform.platform first."
        ) from error
    served = {ref: one for ref, one in known.items() if one.status is not None and _host_of(one)}
    problems = unknown_names("refs", sorted({*(refs or ())}), served, "refs of projects that have services")
    if problems:
        raise InvalidSpec(tuple(problems))
    return [one for ref, one in sorted(served.items()) if refs is None or ref in refs]


def _host_of(record: Record) -> str:
    """Where clients find its services; empty if it has none."""
    endpoints = record.status.endpoints if record.status else {}
    return urlsplit(endpoints.get("url", "")).hostname or ""


def _is_stopped(record: Record) -> bool:
    phase = record.status.phase if record.status else ""
    return phase == STOPPED or record.spec.get("state") == ABSENT


def _health_of(one: _Found, cause: str, before: Health | None, now: datetime) -> Health | None:
    """What the record is to say; None for what tells nothing of the project itself."""
    if one.state not in (State.UP, State.DEGRADED, State.DOWN):
        return None
    healthy = one.state is State.UP
    since = before.since if before is not None and before.is_healthy == healthy else ""
    message = why_of(one.parts) + (f"; {cause}" if cause else "")
    return Health(
        is_healthy=healthy,
        reason=one.state.capitalize(),
        message="all answer" if healthy else message[:MESSAGE_LENGTH],
        since=since or now.isoformat(timespec="seconds"),
    )


def _checked(one: _Found, treatment: Treatment) -> Checked:
    down = treatment.why if one.down else ""
    return Checked(
        ref=one.record.ref,
        state=one.state,
        parts=one.parts,
        why="; ".join(text for text in (why_of(one.parts), down) if text),
        restarted=treatment.restarted,
        error=one.error,
    )
