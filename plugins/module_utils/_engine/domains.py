# SPDX-License-Identifier: BSD-2-Clause
"""Host names of projects' own: whose each is, its certificate, and the way from it to the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from .backends.kubernetes.apply import apply
from .backends.kubernetes.client import METADATA_LIST, Client
from .backends.kubernetes.delete import delete
from .backends.kubernetes.domains import DOMAINS, proven_of, wanted_of, write_proven
from .backends.kubernetes.kinds import collection_path
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.observe import live_of, observe_served
from .backends.kubernetes.plan import plan_object
from .backends.kubernetes.records import Record, read_records
from .certificates import Certificate, apply_certificate, plan_certificate
from .deadline import Deadline
from .domain_holders import Claim, Holders
from .domain_lookups import Lookup, look_up
from .domain_states import State, Told, after, failure_of, told_of
from .errors import BackendError, DeadlineExceeded, InvalidSpec, NotFound, SafetyStop
from .objects import Body, Desired, ObjectId
from .observed import Live, Observed
from .progress import Progress
from .project.domains import Proof, proof_of, unfit
from .project.model import Platform
from .project.names import PROJECT_LABEL, UID_LABEL, Ref, Uid
from .render import namespace_object_of
from .render.domains import (
    Owner,
    domains_selector,
    render_domain_certificate,
    render_domains,
    routes_selector,
    secret_name_of,
)
from .render.gateway_pods import gateway_namespace_of
from .settings import Settings
from .standing import refusal_of
from .steps import Action, Failure, Outcome, Plan, Report, Result, Step

# The route first, and no certificate before the Gateway that shows it.
_ORDER_OF_REMOVAL = ("HTTPRoute", "Gateway", "Secret")

# The certificate of a name. Raises InvalidSpec if there is none that it could be shown with.
Certificates = Callable[[str], Certificate]


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainsReport:
    """What was done for each project, and how far each name is, both in the order of the refs."""

    report: Report
    domains: tuple[Told, ...] = ()


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
    4. A name is another's only after the project that it led to has let go of it.
    5. If something is to be written, the lease is taken, and all is looked at again before.

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
    plans = job.work(seen, doubts)
    if settings.check or not any(one.plan.steps for one in plans):
        return job.report(plans)
    progress.note(f"keeping domains: {sum(len(one.plan.steps) for one in plans)} changes")
    seconds = settings.lease_seconds
    with Lease(client, platform.namespace, seconds=seconds, progress=progress, deadline=job.deadline) as lease:
        seen = job.look()
        done = job.work(seen, doubts, partial(job.apply, seen.observed, lease.bound(job.deadline)))
    return job.report(done)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The records, and of each project by its uid what there is for its names; the namespaces of all."""

    known: Mapping[Ref, Record]
    observed: Observed
    mine: Mapping[str, tuple[Live, ...]]

    def left_over(self) -> dict[str, ObjectId]:
        """Names that still lead to a project without a record, each with the Gateway that shows it."""
        uids = {one.uid for one in self.known.values()}
        lives = (live for uid, found in self.mine.items() if uid not in uids for live in found)
        return {name: live.id for live in lives for name in _shown_by(live)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One project: what is to be done, or once that is over, what was; nothing if it was refused, which is the failure.

    `given`: certificates by the Secrets that they go into. `proven`: what its record is to say. `is_there`: it has a
    namespace; without one there is nothing to do.
    """

    record: Record
    told: tuple[Told, ...]
    plan: Plan = field(default_factory=Plan)
    given: Mapping[ObjectId, Certificate] = field(default_factory=dict)
    proven: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    is_there: bool = True


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
        ours = domains_selector(self.platform)
        observed = self._listed("Gateway", ours, full=True).and_also(self._secrets(ours))
        observed = observed.and_also(self._listed("HTTPRoute", routes_selector(), full=True))
        mine: dict[str, tuple[Live, ...]] = {}
        for live in observed.objects.values():
            uid = live.labels.get(UID_LABEL, "")
            mine[uid] = (*mine.get(uid, ()), live)
        # Of a project that has something to give up as well.
        if mine or any(wanted_of(one) or proven_of(one) for one in known.values()):
            observed = observed.and_also(self._listed("Namespace", PROJECT_LABEL, full=False))
        return _Seen(known=known, observed=observed, mine=mine)

    def _listed(self, kind: str, selector: str, *, full: bool) -> Observed:
        return observe_served(self.client, [kind], selector=selector, full=full, workers=1, deadline=self.deadline)

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
            if record.uid is not None and domain not in proven_of(record) and not unfit(domain, self.platform)
        ]
        if asked:
            progress.note(f"looking up who has {len(asked)} domains")
        return look_up(asked, lookup, deadline=self.deadline, workers=self.settings.workers)

    def work(
        self, seen: _Seen, doubts: Mapping[Proof, str], do: Callable[[_Planned], _Planned] = lambda one: one
    ) -> list[_Planned]:
        """Plan project after project, and do it; who gives a name up comes before whoever is to have it."""
        mine = {one.ref: seen.mine.get(one.uid or "", ()) for one in seen.known.values()}
        records = [one for one in seen.known.values() if wanted_of(one) or proven_of(one) or mine[one.ref]]
        holders = Holders((_claim_of(one, mine[one.ref]) for one in records), seen.left_over())
        done: list[_Planned] = []
        for ref in holders.order():
            planned = do(self._plan(seen, seen.known[ref], doubts, holders))
            if planned.is_there and planned.failure is None:
                holders.let_go(ref, planned.proven)
            done.append(planned)
        return done

    def _plan(self, seen: _Seen, record: Record, doubts: Mapping[Proof, str], holders: Holders) -> _Planned:
        uid, before = record.uid, proven_of(record)
        space = seen.observed.find(namespace_object_of(record.ref))
        absence = _absence_of(record, space)
        if uid is None or space is None or absence:
            return _Planned(record=record, told=_not_there(record, absence), is_there=False)
        wrong: dict[str, tuple[State, str]] = {}
        for domain in wanted_of(record):
            doubt = "" if domain in before else doubts.get(proof_of(uid, domain), "it is new; run again")
            if allowed := unfit(domain, self.platform):
                wrong[domain] = (State.FAILED, f"the record has {domain}, allowed is {allowed}")
            elif doubt:
                wrong[domain] = (State.UNVERIFIED, doubt)
            elif hindrance := holders.claim(domain, record.ref):
                wrong[domain] = (State.TAKEN, hindrance)
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
            told=after(refused, told_of(record.ref, uid, wanted_of(record), wrong)),
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

    def apply(self, observed: Observed, deadline: Deadline, planned: _Planned) -> _Planned:
        """Step after step, until one fails. What is proven is noted before anything follows from it."""
        done: list[Step] = []
        failure = planned.failure
        for step in planned.plan.steps:
            try:
                if self._apply(observed, planned, step, deadline):
                    done.append(step)
            except (BackendError, DeadlineExceeded, SafetyStop) as error:
                failure = Failure.of(step.action, str(step.id), error)
                break
        told = after(failure, planned.told)
        return replace(planned, told=told, plan=Plan(steps=tuple(done)), failure=failure)

    def _apply(self, observed: Observed, planned: _Planned, step: Step, deadline: Deadline) -> bool:
        if step.id == planned.record.live.id:
            write_proven(self.client, step.id, planned.proven, deadline=deadline)
            return True
        if step.action is Action.DELETE:
            return delete(self.client, step.id, uid_label=planned.record.uid or "", deadline=deadline)
        if step.id in planned.given:
            apply_certificate(self.client, step.desired, planned.given[step.id], deadline=deadline)
            return True
        return apply(self.client, step, before=observed.find(step.id), deadline=deadline).changed

    def report(self, plans: Iterable[_Planned]) -> DomainsReport:
        ordered = sorted(plans, key=lambda one: one.record.ref)
        outcomes = tuple(_outcome(one) for one in ordered)
        report = Report(outcomes=outcomes, reads=self.client.reads, writes=self.client.writes)
        return DomainsReport(report=report, domains=tuple(told for one in ordered for told in one.told))


def _claim_of(record: Record, mine: Iterable[Live]) -> Claim:
    """What its record says leads to a project, and what its Gateway still lets in although the record does not."""
    shown = (name for live in mine for name in _shown_by(live))
    return Claim(ref=record.ref, wanted=frozenset(wanted_of(record)), held=frozenset({*proven_of(record), *shown}))


def _shown_by(live: Live) -> tuple[str, ...]:
    """The names that a Gateway lets in; none for another object."""
    if live.id.kind != "Gateway" or live.body is None:
        return ()
    return tuple(str(one.get("hostname", "")) for one in live.body["spec"]["listeners"])


def _absence_of(record: Record, space: Live | None) -> str:
    """Why there is nothing that a project's names could lead to; empty if there is."""
    if space is None or record.uid is None:
        return "the project is not there; run the module projects first"
    if space.is_going:
        return f"{space.id} is being deleted"
    found = space.labels.get(UID_LABEL) or "nobody"
    return "" if found == record.uid else f"{space.id} belongs to {found}, not to the uid {record.uid} of the record"


def _not_there(record: Record, absence: str) -> tuple[Told, ...]:
    """The names of such a project: its proof can be asked for by its uid alone. What is proven was served before."""
    if record.uid is None:
        return ()
    proven = proven_of(record)
    states = {one: State.FAILED if one in proven else State.UNVERIFIED for one in wanted_of(record)}
    return told_of(record.ref, record.uid, states, {one: (state, absence) for one, state in states.items()})


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
    failure = planned.failure or failure_of(planned.told)
    result = Result.FAILED if failure else Result.CHANGED if planned.plan.steps else Result.UNCHANGED
    return Outcome(
        ref=planned.record.ref,
        uid=planned.record.uid or "",
        result=result,
        steps=planned.plan.steps,
        failure=failure,
    )
