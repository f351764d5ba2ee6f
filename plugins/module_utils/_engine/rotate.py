# SPDX-License-Identifier: BSD-2-Clause
"""New passwords for the clients of running projects, and no request that fails for it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .access import Access
from .backends.kubernetes import records
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.pods import running_pods, touch
from .backends.kubernetes.records import READY, STOPPED, Record
from .backends.kubernetes.secrets import read_texts, replace_texts
from .backends.pgbouncer.client import Pooler
from .credentials import Secret
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, InvalidSpec, NotFound, Problem, SafetyStop
from .objects import Desired, ObjectId
from .parallel import in_parallel
from .progress import Progress
from .project.model import Platform
from .project.names import Ref, Uid, namespace_of
from .render import Context, credentials_of
from .render.pooler import CONSOLE, PAUSER, PAUSER_KEY
from .rotation import NEXT_PASSWORD, NEXT_USER, begun, ended, idle_login, is_begun, published, seconds_to_settle
from .settings import Settings
from .steps import Action, Failure, Outcome, Report, Result, Step
from .vault import DATABASE_FOLDER, VAULT_KIND, Kept

POLL_SECONDS = 1.0
# A kubelet that was told to look takes seconds; one that was not, more than a minute.
LOAD_SECONDS = 180.0


def rotate(
    access: Access,
    platform: Platform,
    *,
    refs: Collection[str] | None,
    end_previous: bool,
    settle_seconds: float,
    settings: Settings,
    progress: Progress,
) -> Report:
    """Give projects (all, if `refs` is None) a new login for clients; with `end_previous` end the one before instead.

    1. The idle login gets a new password, in Vault first, then in the Secret of its namespace.
    2. Each pooler reads it, which is seen by logging in; only then it is published.
    3. Whoever holds the login before it goes on working until that is ended, or replaced by the next rotation, which is
       refused within `settle_seconds`.
    4. A run that was killed is finished by the next one, which then begins no other rotation of that project.
    5. Many projects go in waves; no wave begins after more failures than `settings.wave_failures`.

    Raises InvalidSpec for an unknown ref, SafetyStop if another run is at work, BackendError if the cluster cannot be
    read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    known = records.read_records(access.client, platform.namespace, deadline=deadline)
    chosen = _chosen(known, refs)
    job = _Job(
        access=access,
        platform=platform,
        ends=end_previous,
        settle_seconds=settle_seconds,
        progress=progress,
        deadline=deadline,
    )
    if settings.check:
        return _report(access, [_planned(job, record) for record in chosen])
    seconds = settings.lease_seconds
    with Lease(access.client, platform.namespace, seconds=seconds, progress=progress, deadline=deadline) as lease:
        return _report(access, _in_waves(job, chosen, settings, lease))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What every lane of the run needs."""

    access: Access
    platform: Platform
    ends: bool
    settle_seconds: float
    progress: Progress
    deadline: Deadline

    @property
    def reason(self) -> str:
        return "the login before the published one is ended" if self.ends else "clients get a new login"


def _chosen(known: Mapping[Ref, Record], refs: Collection[str] | None) -> list[Record]:
    unknown = sorted(ref for ref in refs or () if Ref(ref) not in known)
    if unknown:
        allowed = f"refs of projects that the platform has: {', '.join(sorted(known)[:20]) or 'none'}"
        raise InvalidSpec(tuple(Problem(path="refs", value=ref, allowed=allowed) for ref in unknown))
    return [known[ref] for ref in sorted(known) if refs is None or ref in refs]


def _in_waves(job: _Job, chosen: Sequence[Record], settings: Settings, lease: Lease) -> list[Outcome]:
    done: list[Outcome] = []
    for start in range(0, len(chosen), settings.wave_size):
        wave = chosen[start : start + settings.wave_size]
        failed = [one.ref for one in done if one.result is Result.FAILED]
        if len(failed) > settings.wave_failures:
            reason = f"the rotation is held back, as it went wrong on {', '.join(failed[:5])}; mend these and run again"
            done += [Outcome(ref=one.ref, uid=one.uid or "", result=Result.HELD, held=reason) for one in wave]
            continue
        done += in_parallel(lambda record: _one(job, record, lease), wave, workers=settings.workers)
        job.progress.count("projects rotated", len(done), len(chosen))
    return done


def _one(job: _Job, record: Record, lease: Lease) -> Outcome:
    lane = _Lane(job=job, record=record, deadline=lease.bound(job.deadline))
    try:
        lane.refuse_unsettled()
        lane.end() if job.ends else lane.renew()
    except (BackendError, DeadlineExceeded, SafetyStop) as error:
        failure = Failure.of("rotate", str(lane.secret), error)
        return Outcome(
            ref=record.ref, uid=record.uid or "", result=Result.FAILED, steps=tuple(lane.done), failure=failure
        )
    result = Result.CHANGED if lane.done else Result.UNCHANGED
    return Outcome(ref=record.ref, uid=record.uid or "", result=result, steps=tuple(lane.done))


@dataclass(slots=True, kw_only=True)
class _Lane:
    """One project, and what has been changed of it so far."""

    job: _Job
    record: Record
    deadline: Deadline
    done: list[Step] = field(default_factory=list)

    @property
    def secret(self) -> ObjectId:
        return credentials_of(self.record.ref)

    @property
    def namespace(self) -> str:
        return namespace_of(self.record.ref)

    def refuse_unsettled(self) -> None:
        """A project in the middle of a change has poolers that come and go."""
        phase = self.record.status.phase if self.record.status else "new"
        if phase not in (READY, STOPPED):
            raise SafetyStop(f"the project is {phase}; run the module projects first, then rotate again")

    def renew(self) -> None:
        """From the published login to a new one; or what an earlier run has left of that way."""
        kept = self._read()
        was_lagging = self._copy(kept.texts)
        if not is_begun(kept.texts) and not was_lagging:
            self._refuse_too_soon(kept.texts)
            kept = self._write(kept, begun(kept.texts))
        if is_begun(kept.texts):
            self._await_poolers(kept.texts[NEXT_USER], Secret(kept.texts[NEXT_PASSWORD]), kept.texts)
            self._write(kept, published(kept.texts, now=time.time()))

    def end(self) -> None:
        """Give the idle login a password that is kept nowhere."""
        kept = self._read()
        if is_begun(kept.texts):
            raise SafetyStop("a rotation of the project was begun and is not finished; rotate it first")
        password, texts = ended(kept.texts)
        self._write(kept, texts)
        self._await_poolers(idle_login(texts), password, texts)

    def _refuse_too_soon(self, texts: Mapping[str, str]) -> None:
        left = seconds_to_settle(texts, now=time.time(), settle_seconds=self.job.settle_seconds)
        if left > 0:
            raise SafetyStop(
                f"clients may still use the login before the last one for {left:.0f} s, and this would replace it; "
                "end it first with end_previous, or wait, or set settle_seconds"
            )

    def _read(self) -> Kept:
        """What is kept of the project: in Vault, if the platform has one, else in the Secret itself."""
        vault = self.job.access.vault
        if vault is None:
            texts = read_texts(self.job.access.client, self.secret, deadline=self.deadline)
            kept = None if texts is None else Kept(texts=texts, version=0)
        else:
            kept = vault.read(self._kept_id(), deadline=self.deadline)
        if kept is None:
            raise NotFound(subject=str(self.secret), verb="GET", reason="there is none; run the module projects first")
        return kept

    def _write(self, kept: Kept, texts: Mapping[str, str]) -> Kept:
        """Vault first, then the copy: what is lost in between is made good out of Vault."""
        vault = self.job.access.vault
        if vault is not None:
            vault.replace(self._kept_id(), Kept(texts=texts, version=kept.version), deadline=self.deadline)
            self._note(self._kept_id())
        self._copy(texts)
        return Kept(texts=texts, version=kept.version + 1)

    def _copy(self, texts: Mapping[str, str]) -> bool:
        changed = replace_texts(self.job.access.client, self.secret, texts, deadline=self.deadline)
        if changed:
            self._note(self.secret)
        return changed

    def _note(self, id: ObjectId) -> None:
        """Once for each object, however often it was written."""
        if all(step.id != id for step in self.done):
            self.done.append(_step(id, self.job.reason))

    def _kept_id(self) -> ObjectId:
        return _kept_id(self.record.uid)

    def _await_poolers(self, login: str, password: Secret, texts: Mapping[str, str]) -> None:
        """Until every pooler of the project lets the login in. A stopped project has none that could."""
        client, end = self.job.access.client, Deadline(limit_seconds=min(LOAD_SECONDS, self.deadline.remaining()))
        pods = running_pods(client, self.namespace, Context.POOLER, deadline=self.deadline)
        is_stopped = self.record.status is not None and self.record.status.phase == STOPPED
        if not pods and not is_stopped:
            raise SafetyStop("no pooler of the project runs; mend that, then rotate again")
        mark = str(round(time.time() * 1000))
        for pod in pods:
            touch(client, self.namespace, pod, mark=mark, deadline=self.deadline)
        for pod in pods:
            pooler = Pooler(client=client, namespace=self.namespace, pod=pod, port=Context.POOLER_PORT)
            self._await_pooler(pooler, login, password, Secret(texts[f"{PAUSER_KEY}.password"]), end)

    def _await_pooler(self, pooler: Pooler, login: str, password: Secret, console: Secret, end: Deadline) -> None:
        while True:
            pooler.reload(user=PAUSER, password=console, console=CONSOLE, deadline=end)
            if pooler.lets_in(user=login, password=password, database=Context.DATABASE_ALIAS, deadline=end):
                return
            if end.remaining() <= POLL_SECONDS:
                waited = f"within {end.limit_seconds:g} s"
                raise DeadlineExceeded(f"{pooler.subject} did not get the new login {waited}; run again to go on")
            time.sleep(POLL_SECONDS)


def _planned(job: _Job, record: Record) -> Outcome:
    ids = (*((_kept_id(record.uid),) if job.platform.vault_address else ()), credentials_of(record.ref))
    steps = tuple(_step(id, job.reason) for id in ids)
    return Outcome(ref=record.ref, uid=record.uid or "", result=Result.CHANGED, steps=steps)


def _kept_id(uid: Uid | None) -> ObjectId:
    return ObjectId(kind=VAULT_KIND, namespace=DATABASE_FOLDER, name=uid or "")


def _step(id: ObjectId, reason: str) -> Step:
    meta = {"name": id.name, "namespace": id.namespace}
    desired = Desired(body={"kind": id.kind, "metadata": meta})
    return Step(action=Action.UPDATE, id=id, reason=reason, desired=desired, before=desired.body)


def _report(access: Access, outcomes: Sequence[Outcome]) -> Report:
    return Report(outcomes=tuple(outcomes), reads=access.reads, writes=access.writes)
