# SPDX-License-Identifier: BSD-2-Clause
"""Host names of projects' own: whose each is, its certificate, and the way from it to the project."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from .backends.kubernetes.apply import apply
from .backends.kubernetes.client import METADATA_LIST, Client
from .backends.kubernetes.delete import delete
from .backends.kubernetes.domains import DOMAINS, proven_of, wanted_of, write_proven
from .backends.kubernetes.kinds import collection_path
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.observe import live_of, observe
from .backends.kubernetes.plan import plan_object
from .backends.kubernetes.records import Record, read_records
from .certificates import Certificate, apply_certificate, plan_certificate
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded, InvalidSpec, NotFound, SafetyStop, Unreachable
from .objects import Body, Desired, ObjectId
from .observed import NOTHING, Live, Observed
from .parallel import in_parallel
from .progress import Progress
from .project.domains import Proof, proof_of
from .project.model import Platform
from .project.names import COMPONENT_LABEL, PROJECT_LABEL, UID_LABEL, Ref, Uid
from .render import namespace_object_of
from .render.domains import Owner, domains_selector, render_domain_certificate, render_domains, secret_name_of
from .render.gateway_pods import gateway_namespace_of
from .settings import Settings
from .standing import refusal_of
from .steps import Action, Failure, Outcome, Plan, Report, Result, Step

# What a TXT record says, in a message.
SHOWN_TEXTS = 3
# The route first, and no certificate before the Gateway that shows it.
_ORDER_OF_REMOVAL = ("HTTPRoute", "Gateway", "Secret")

# The texts of a name's TXT records. Raises Unreachable.
Lookup = Callable[[str, Deadline], tuple[str, ...]]
# The certificate of a name. Raises InvalidSpec if there is none that it could be shown with.
Certificates = Callable[[str], Certificate]


class State(StrEnum):
    """How far a name is. `uncertified`: it is proven, and has no certificate or only the one from before."""

    TAKEN = "taken"
    UNCERTIFIED = "uncertified"
    UNVERIFIED = "unverified"
    SERVED = "served"

    @property
    def is_failure(self) -> bool:
        """True for what the platform's people have to mend. A proof is the matter of who has the name."""
        return self in (State.TAKEN, State.UNCERTIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One name of a project. `message`: what is missing; empty if it is served. `proof`: the record to be made."""

    ref: Ref
    domain: str
    state: State
    message: str
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainsReport:
    """What was done for each project, and how far each name is, both in the order of the refs."""

    report: Report
    domains: tuple[Told, ...] = ()


def doubt_of(proof: Proof, texts: Iterable[str]) -> str:
    """Why TXT records prove nothing; empty if they do. One of several is enough.

    >>> doubt_of(Proof(name="_supalove.api.example.org", text="supalove-verification=a"), ["supalove-verification=a"])
    ''
    """
    found = list(texts)
    if proof.text in found:
        return ""
    said = ", ".join(map(repr, found[:SHOWN_TEXTS])) or "there is none"
    return f"a TXT record of {proof.name} has to say {proof.text}; found: {said}"


def keep_domains(
    client: Client | None,
    platform: Platform,
    *,
    lookup: Lookup,
    certificates: Certificates,
    settings: Settings,
    progress: Progress,
) -> DomainsReport:
    """Let the projects be reached by the names in their records. `client` is None where there is no cluster yet.

    1. A name that is not proven yet is looked up. One that is proven stays so until it is taken from the project.
    2. A name without a good certificate keeps the one that it has, if any.
    3. Each project has its own failure. What one does not want any more goes; what others have stays.
    4. If something is to be written, the lease is taken, and all is looked at again before.

    Raises BackendError if the cluster cannot be read, SafetyStop if another run is at work.
    """
    if client is None:
        return DomainsReport(report=Report(outcomes=()))
    job = _Job(
        client=client,
        platform=platform,
        certificates=certificates,
        settings=settings,
        deadline=Deadline(limit_seconds=settings.timeout_seconds),
        now=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    seen = job.look()
    doubts = job.ask(seen, lookup, progress)
    plans = job.plan_all(seen, doubts)
    if settings.check or not any(one.plan.steps for one in plans):
        return job.report(plans)
    progress.note(f"keeping domains: {sum(len(one.plan.steps) for one in plans)} changes")
    seconds = settings.lease_seconds
    with Lease(client, platform.namespace, seconds=seconds, progress=progress, deadline=job.deadline) as lease:
        plans = job.plan_all(job.look(), doubts)
        done = [job.apply(one, lease.bound(job.deadline)) for one in plans]
    return job.report(done)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The records, and of each project by its uid what there is for its names; the namespaces of all."""

    known: Mapping[Ref, Record]
    observed: Observed
    mine: Mapping[str, tuple[Live, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One project: what is to be done, or once that is over, what was; nothing if it was refused, which is the failure.

    `given`: certificates by the Secrets that they go into. `proven`: what its record is to say.
    """

    record: Record
    told: tuple[Told, ...]
    plan: Plan = field(default_factory=Plan)
    given: Mapping[ObjectId, Certificate] = field(default_factory=dict)
    proven: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    client: Client
    platform: Platform
    certificates: Certificates
    settings: Settings
    deadline: Deadline
    now: str

    def look(self) -> _Seen:
        """One LIST for each kind, of Secrets in the gateway's namespace and without their values."""
        try:
            known = read_records(self.client, self.platform.namespace, deadline=self.deadline)
        except NotFound:
            known = {}  # no platform yet, and so no project
        observed = NOTHING
        ours, theirs = domains_selector(self.platform), f"{PROJECT_LABEL},{COMPONENT_LABEL}={DOMAINS}"
        kinds = [("Gateway", ours, True), ("HTTPRoute", theirs, True)]
        if any(map(wanted_of, known.values())):
            kinds.append(("Namespace", PROJECT_LABEL, False))
        for kind, selector, full in kinds:
            # Without its definition there is none of a kind yet.
            with contextlib.suppress(NotFound, SafetyStop):
                some = observe(self.client, [kind], selector=selector, full=full, workers=1, deadline=self.deadline)
                observed = observed.and_also(some)
        observed = observed.and_also(self._secrets(ours))
        mine: dict[str, tuple[Live, ...]] = {}
        for live in observed.objects.values():
            uid = live.labels.get(UID_LABEL, "")
            mine[uid] = (*mine.get(uid, ()), *(() if live.id.kind == "Namespace" else (live,)))
        return _Seen(known=known, observed=observed, mine=mine)

    def _secrets(self, selector: str) -> Observed:
        space = gateway_namespace_of(self.platform)
        path, query = collection_path("Secret", space), {"labelSelector": selector}
        items = self.client.list(
            path, subject=f"Secret/{space}", deadline=self.deadline, query=query, accept=METADATA_LIST
        )
        ids = (ObjectId(kind="Secret", namespace=space, name=item["metadata"]["name"]) for item in items)
        return Observed(objects={id: live_of(id, item, with_body=False) for id, item in zip(ids, items, strict=True)})

    def ask(self, seen: _Seen, lookup: Lookup, progress: Progress) -> dict[Proof, str]:
        """Of every name that is not proven yet, why not; an empty text for one that is by now."""
        asked = [
            proof_of(record.uid, domain)
            for record in seen.known.values()
            for domain in wanted_of(record)
            if record.uid is not None and domain not in proven_of(record)
        ]
        if asked:
            progress.note(f"looking up who has {len(asked)} domains")

        def ask(proof: Proof) -> str:
            try:
                return doubt_of(proof, lookup(proof.name, self.deadline))
            except Unreachable as error:
                return f"a TXT record of {proof.name} has to say {proof.text}; the DNS did not tell: {error.reason}"

        return dict(zip(asked, in_parallel(ask, asked, workers=self.settings.workers), strict=True))

    def plan_all(self, seen: _Seen, doubts: Mapping[Proof, str]) -> list[_Planned]:
        """Those that give a name up first, so that another can have it in the same run."""
        records = [
            one for one in seen.known.values() if wanted_of(one) or proven_of(one) or seen.mine.get(one.uid or "")
        ]
        records.sort(key=lambda one: (not {*proven_of(one)} - {*wanted_of(one)}, one.ref))
        holders = {domain: one.ref for one in records for domain in proven_of(one) if domain in wanted_of(one)}
        return [self._plan(seen, one, doubts, holders) for one in records]

    def _plan(self, seen: _Seen, record: Record, doubts: Mapping[Proof, str], holders: dict[str, Ref]) -> _Planned:
        uid, before = record.uid, proven_of(record)
        space = seen.observed.find(namespace_object_of(record.ref))
        if uid is None or space is None or space.is_going or space.labels.get(UID_LABEL) != uid:
            return _Planned(record=record, told=_not_there(record))
        wrong: dict[str, tuple[State, str]] = {}
        for domain in wanted_of(record):
            doubt = "" if domain in before else doubts.get(proof_of(uid, domain), "it is new; run again")
            if doubt:
                wrong[domain] = (State.UNVERIFIED, doubt)
            elif holders.setdefault(domain, record.ref) != record.ref:
                wrong[domain] = (
                    State.TAKEN,
                    f"{domain} leads to the project {holders[domain]}; take it from that first",
                )
        proven = {one: before.get(one) or self.now for one in wanted_of(record) if one not in wrong}
        given, lacking = self._certificates(proven)
        wrong |= {domain: (State.UNCERTIFIED, reason) for domain, reason in lacking.items()}
        owner = Owner(ref=record.ref, uid=uid, namespace_uid=space.uid)
        secrets = {
            domain: render_domain_certificate(self.platform, owner, domain, one.digest) for domain, one in given.items()
        }
        kept = {domain for domain in lacking if seen.observed.find(self._secret_id(uid, domain)) is not None}
        routed = render_domains(self.platform, owner, {*secrets, *kept})
        wanted = {one.id for one in (*secrets.values(), *routed)} | {self._secret_id(uid, one) for one in kept}
        plan = Plan.of(
            (
                *([] if proven == before else [_step_of_record(record, before, proven)]),
                *(plan_certificate(one, seen.observed.find(one.id)) for one in secrets.values()),
                *(plan_object(one, seen.observed.find(one.id)) for one in routed),
                *_removals(seen.mine.get(uid, ()), wanted),
            )
        )
        refused = refusal_of(plan)
        return _Planned(
            record=record,
            told=tuple(_told(record.ref, uid, domain, wrong) for domain in wanted_of(record)),
            plan=Plan() if refused else plan,
            given={secrets[domain].id: one for domain, one in given.items()},
            proven=proven,
            failure=refused,
        )

    def _secret_id(self, uid: Uid, domain: str) -> ObjectId:
        space = gateway_namespace_of(self.platform)
        return ObjectId(kind="Secret", namespace=space, name=secret_name_of(uid, domain))

    def _certificates(self, domains: Iterable[str]) -> tuple[dict[str, Certificate], dict[str, str]]:
        """Those that there are, and why there is none of the others."""
        given: dict[str, Certificate] = {}
        lacking: dict[str, str] = {}
        for domain in domains:
            try:
                given[domain] = self.certificates(domain)
            except InvalidSpec as error:
                lacking[domain] = "; ".join(map(str, error.problems))
        return given, lacking

    def apply(self, planned: _Planned, deadline: Deadline) -> _Planned:
        """Step after step, until one fails. What is proven is noted before anything follows from it."""
        done: list[Step] = []
        failure = planned.failure
        for step in planned.plan.steps:
            try:
                if self._apply(planned, step, deadline):
                    done.append(step)
            except (BackendError, DeadlineExceeded, SafetyStop) as error:
                failure = Failure.of(step.action, str(step.id), error)
                break
        return replace(planned, plan=Plan(steps=tuple(done)), failure=failure)

    def _apply(self, planned: _Planned, step: Step, deadline: Deadline) -> bool:
        if step.id == planned.record.live.id:
            write_proven(self.client, step.id, planned.proven, deadline=deadline)
            return True
        if step.action is Action.DELETE:
            return delete(self.client, step.id, uid_label=planned.record.uid or "", deadline=deadline)
        if step.id in planned.given:
            apply_certificate(self.client, step.desired, planned.given[step.id], deadline=deadline)
            return True
        return apply(self.client, step, before=None, deadline=deadline).changed

    def report(self, plans: Iterable[_Planned]) -> DomainsReport:
        ordered = sorted(plans, key=lambda one: one.record.ref)
        outcomes = tuple(_outcome(one) for one in ordered)
        report = Report(outcomes=outcomes, reads=self.client.reads, writes=self.client.writes)
        return DomainsReport(report=report, domains=tuple(told for one in ordered for told in one.told))


def _not_there(record: Record) -> tuple[Told, ...]:
    """The names of a project whose objects are still to be made: its proof can be asked for by its uid alone."""
    if record.uid is None:
        return ()
    reason = "the project is not there yet; run the module projects first"
    wrong = dict.fromkeys(wanted_of(record), (State.UNVERIFIED, reason))
    return tuple(_told(record.ref, record.uid, domain, wrong) for domain in wanted_of(record))


def _told(ref: Ref, uid: Uid, domain: str, wrong: Mapping[str, tuple[State, str]]) -> Told:
    state, message = wrong.get(domain, (State.SERVED, ""))
    return Told(ref=ref, domain=domain, state=state, message=message, proof=proof_of(uid, domain))


def _step_of_record(record: Record, before: Mapping[str, str], proven: Mapping[str, str]) -> Step:
    """A change of what its status says is proven; its bodies have nothing but this."""
    gained, lost = sorted({*proven} - {*before}), sorted({*before} - {*proven})
    reasons = [f"{', '.join(gained)} proven to be the project's"] if gained else []
    reasons += [f"{', '.join(lost)} not its own any more"] if lost else []
    head = {key: (record.live.body or {})[key] for key in ("apiVersion", "kind")}
    meta = {"name": record.live.id.name, "namespace": record.live.id.namespace}

    def body(said: Mapping[str, str]) -> Body:
        return {**head, "metadata": meta, "status": {DOMAINS: dict(said)}}

    return Step(
        action=Action.UPDATE,
        id=record.live.id,
        reason="; ".join(reasons),
        desired=Desired(body=body(proven)),
        before=body(before),
    )


def _removals(mine: Iterable[Live], wanted: Iterable[ObjectId]) -> Iterable[Step]:
    """What the project has for names that it has no more."""
    kept = {*wanted}
    gone = [live for live in mine if live.id not in kept and not live.is_going]
    for live in sorted(gone, key=lambda one: (_ORDER_OF_REMOVAL.index(one.id.kind), one.id)):
        meta = {"name": live.id.name, "namespace": live.id.namespace}
        body = live.body or {"apiVersion": "v1", "kind": live.id.kind, "metadata": meta}
        reason = "no name of the project needs it any more"
        yield Step(action=Action.DELETE, id=live.id, reason=reason, desired=Desired(body=body), before=body)


def _outcome(planned: _Planned) -> Outcome:
    bad = [one for one in planned.told if one.state.is_failure]
    failure = planned.failure
    if failure is None and bad:
        names, reasons = ", ".join(one.domain for one in bad), "; ".join(one.message for one in bad)
        failure = Failure(step="serve", object=names, reason=reasons)
    result = Result.FAILED if failure else Result.CHANGED if planned.plan.steps else Result.UNCHANGED
    return Outcome(
        ref=planned.record.ref,
        uid=planned.record.uid or "",
        result=result,
        steps=planned.plan.steps,
        failure=failure,
    )
