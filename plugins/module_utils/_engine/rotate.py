# SPDX-License-Identifier: BSD-2-Clause
"""New secrets for running projects, and no request that fails for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .access import Access
from .backends.kubernetes import records
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.records import Record
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, InvalidSpec, Problem, SafetyStop, TooSoon
from .keeper import Keeper
from .parallel import in_parallel
from .progress import Progress
from .project.model import Platform
from .project.names import Ref, Uid
from .rotate_keys import end_key, renew_key
from .rotate_logins import end_login, renew_login
from .settings import Settings
from .steps import Failure, Outcome, Report, Result


class What(StrEnum):
    """What of a project is rotated: the login of its clients, or the key that signs its tokens."""

    LOGIN = "login"
    SIGNING_KEY = "signing_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is done to each project, and why its secret changes."""

    run: Callable[[Keeper, float | None], None]
    reason: str


_RENEW = {
    What.LOGIN: _Task(run=renew_login, reason="clients get a new login"),
    What.SIGNING_KEY: _Task(run=renew_key, reason="tokens get a new key"),
}
_END = {
    What.LOGIN: _Task(run=end_login, reason="the login before the published one is ended"),
    What.SIGNING_KEY: _Task(run=end_key, reason="the key before the one that signs is ended"),
}


def rotate(
    access: Access,
    platform: Platform,
    *,
    what: What,
    refs: Collection[str] | None,
    end_previous: bool,
    settle_seconds: float | None,
    settings: Settings,
    progress: Progress,
) -> Report:
    """Give projects (all, if `refs` is None) something new; with `end_previous` end the one before it instead.

    A login of clients, in one run:
    1. The idle login gets a new password, in Vault first, then in the Secret of its namespace.
    2. Each pooler reads it, which is seen by logging in; only then it is published.
    3. Whoever holds the login before it goes on working until that is ended, or replaced by the next rotation, which is
       refused within `settle_seconds`.

    A key that signs tokens, in two runs with `settle_seconds` between them: it is announced, then it signs. Tokens of
    the key before are good until that is ended.

    A run that was killed or held back is finished by the next one: of all projects those for which it is too soon are
    left as they are. Of chosen ones that is a failure. Many projects go in waves; no wave begins after more failures
    than `settings.wave_failures`.

    Raises InvalidSpec for an unknown ref, SafetyStop if another run is at work, BackendError if the cluster cannot be
    read.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    known = records.read_records(access.client, platform.namespace, deadline=deadline)
    chosen = _chosen(known, refs)
    job = _Job(
        access=access,
        task=(_END if end_previous else _RENEW)[what],
        check=settings.check,
        all_projects=refs is None,
        settle_seconds=settle_seconds,
        progress=progress,
    )
    if settings.check:
        return _report(access, _in_waves(job, chosen, settings, deadline_of=lambda: deadline))
    seconds = settings.lease_seconds
    with Lease(access.client, platform.namespace, seconds=seconds, progress=progress, deadline=deadline) as lease:
        return _report(access, _in_waves(job, chosen, settings, deadline_of=lambda: lease.bound(deadline)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What every lane of the run needs."""

    access: Access
    task: _Task
    check: bool
    all_projects: bool
    settle_seconds: float | None
    progress: Progress


def _chosen(known: Mapping[Ref, Record], refs: Collection[str] | None) -> list[Record]:
    unknown = sorted(ref for ref in refs or () if Ref(ref) not in known)
    if unknown:
        allowed = f"refs of projects that the platform has: {', '.join(sorted(known)[:20]) or 'none'}"
        raise InvalidSpec(tuple(Problem(path="refs", value=ref, allowed=allowed) for ref in unknown))
    return [known[ref] for ref in sorted(known) if refs is None or ref in refs]


def _in_waves(
    job: _Job, chosen: Sequence[Record], settings: Settings, *, deadline_of: Callable[[], Deadline]
) -> list[Outcome]:
    done: list[Outcome] = []
    for start in range(0, len(chosen), settings.wave_size):
        wave = chosen[start : start + settings.wave_size]
        failed = [one.ref for one in done if one.result is Result.FAILED]
        if len(failed) > settings.wave_failures:
            reason = f"the rotation is held back, as it went wrong on {', '.join(failed[:5])}; mend these and run again"
            done += [Outcome(ref=one.ref, uid=one.uid or "", result=Result.HELD, held=reason) for one in wave]
            continue
        done += in_parallel(lambda record: _one(job, record, deadline_of()), wave, workers=settings.workers)
        job.progress.count("projects rotated", len(done), len(chosen))
    return done


def _one(job: _Job, record: Record, deadline: Deadline) -> Outcome:
    """One project. Of all projects each takes the step that is due; of chosen ones it is told why one takes none."""
    keeper = Keeper(
        access=job.access,
        ref=record.ref,
        uid=record.uid or Uid(""),
        phase=record.status.phase if record.status else "",
        deadline=deadline,
        reason=job.task.reason,
        check=job.check,
    )
    failure = None
    try:
        keeper.refuse_unsettled()
        job.task.run(keeper, job.settle_seconds)
    except TooSoon as error:
        failure = None if job.all_projects else Failure.of("rotate", str(keeper.secret), error)
    except (BackendError, DeadlineExceeded, SafetyStop) as error:
        failure = Failure.of("rotate", str(keeper.secret), error)
    result = Result.FAILED if failure else Result.CHANGED if keeper.done else Result.UNCHANGED
    steps = tuple(keeper.done)
    return Outcome(ref=record.ref, uid=record.uid or "", result=result, steps=steps, failure=failure)


def _report(access: Access, outcomes: Sequence[Outcome]) -> Report:
    return Report(outcomes=tuple(outcomes), reads=access.reads, writes=access.writes)
