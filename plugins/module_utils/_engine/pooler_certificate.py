# SPDX-License-Identifier: BSD-2-Clause
"""A project's certificate in a run: what its record certifies of it, when it is due, and how a new one gets in use.

It is a part of the project's Secret and in a plan an object of its own: a Secret is written once, a certificate ends.
The record's stamp of it says of which Secret it is, and until when it is good for which name. So a steady run reads no
Secret.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping

from .access import Access
from .authority import AUTHORITY, CERTIFICATE_KEYS, LEAF, certified, end_of, is_due, term_of
from .backends.kubernetes.records import Record
from .backends.kubernetes.secrets import read_texts
from .backends.pgbouncer.client import Pooler
from .credentials import Secret
from .deadline import Deadline
from .errors import BackendError, SafetyStop
from .keeper import GENERATION, Keeper
from .objects import Desired, ObjectId
from .observed import Applied, Live, Observed
from .parallel import in_parallel
from .poolers import load, poolers_of
from .project.model import Platform, Project
from .project.names import Ref
from .render import credentials_of
from .render.context import sql_host_of
from .render.pooler import PAUSER_KEY
from .render.sql import certificate_of
from .steps import Action, Plan, Step

OWN = frozenset((*CERTIFICATE_KEYS, GENERATION))


def certificates(
    projects: Iterable[Project], platform: Platform, known: Mapping[Ref, Record], observed: Observed
) -> Observed:
    """What the records certify: of a Secret that is still the same one, with the authority beside it."""
    now = time.time()
    found: dict[ObjectId, Live] = {}
    for project in projects:
        id, secret = certificate_of(project.ref), observed.find(credentials_of(project.ref))
        record = known.get(project.ref)
        status = record.status if record else None
        stamp = status.stamps.get(id) if status and status.authority else None
        if project.tier.has_services and stamp is not None and secret is not None and stamp.uid == secret.uid:
            found[id] = _live(id, stamp.uid, stamp.version, host=sql_host_of(project, platform), now=now)
    return Observed(objects=found)


def read_certificates(
    access: Access,
    projects: Iterable[Project],
    platform: Platform,
    observed: Observed,
    *,
    workers: int,
    deadline: Deadline,
) -> Observed:
    """What the Secrets have, one by one. One that cannot be read has none, and its own project's step says why."""
    now = time.time()

    def read(project: Project) -> Live | None:
        secret = observed.find(credentials_of(project.ref))
        if secret is None:
            return None
        try:
            texts = read_texts(access.client, secret.id, deadline=deadline) or {}
        except BackendError:
            texts = {}
        if LEAF not in texts:
            return None
        id, host = certificate_of(project.ref), sql_host_of(project, platform)
        return _live(id, secret.uid, term_of(texts), host=host, now=now, authority=texts.get(AUTHORITY, ""))

    wanted = [project for project in projects if project.tier.has_services]
    lives = in_parallel(read, wanted, workers=workers)
    return Observed(objects={live.id: live for live in lives if live is not None})


def plan_certificates(desired: Iterable[Desired], observed: Observed) -> Plan:
    """Steps in the order of `desired`."""
    return Plan.of(_plan(one, observed.find(one.id)) for one in desired)


def keep_certificate(keeper: Keeper, step: Step, *, secret_uid: str, serves: bool) -> Applied:
    """Make a new one if it is due, and see to it that the project's poolers show it; open connections go on.

    `serves`: poolers may run that had another one. One that knows nothing of certificates is replaced by a later step.

    Raises SafetyStop if a rotation was cut off between Vault and the Secret, BackendError, DeadlineExceeded.
    """
    host = step.desired.body["spec"]["host"]
    kept = keeper.read()
    lag = keeper.lag(kept)
    if not lag <= OWN:
        raise SafetyStop("an earlier rotation of the project was cut off; run the module rotate, then run again")
    texts = certified(kept.texts, host=host, now=time.time(), random_bytes=secrets.token_bytes)
    if texts != kept.texts:
        keeper.write(kept, texts)
    elif lag:
        keeper.copy(kept.texts)
    if serves:
        _show(keeper, texts)
    term = term_of(texts)
    live = _live(step.id, secret_uid, term, host=host, now=time.time(), authority=texts[AUTHORITY])
    return Applied(changed=bool(keeper.done), live=live)


def authority_in(live: Live | None) -> str:
    """The authority's certificate, if it was read; else nothing."""
    return str(live.body["spec"]["authority"]) if live is not None and live.body is not None else ""


def _show(keeper: Keeper, texts: Mapping[str, str]) -> None:
    def has_it(pooler: Pooler, deadline: Deadline) -> bool:
        return pooler.certificate(deadline=deadline) in ("", texts[LEAF])

    behind = [pooler for pooler in poolers_of(keeper) if not has_it(pooler, keeper.deadline)]
    if behind:
        console = Secret(texts[f"{PAUSER_KEY}.password"])
        load(keeper, behind, console=console, has_it=has_it, what="its new certificate")


def _plan(desired: Desired, live: Live | None) -> Step | None:
    if live is None:
        return Step(action=Action.CREATE, id=desired.id, reason="no record certifies one", desired=desired, before=None)
    if not live.is_going:
        return None
    _end, _space, name = live.version.partition(" ")
    host = desired.body["spec"]["host"]
    reason = f"it ends on {end_of(live.version)}" if name == host else f"it is for {name}, wanted is {host}"
    if not live.version:
        reason = "it is not whole, or cannot be read"
    before = {**desired.body, "spec": {**desired.body["spec"], "host": name}}
    return Step(action=Action.UPDATE, id=desired.id, reason=reason, desired=desired, before=before)


def _live(id: ObjectId, uid: str, term: str, *, host: str, now: float, authority: str = "") -> Live:
    """It is going when it is due."""
    body = {"spec": {"authority": authority}} if authority else None
    going = is_due(term, host=host, now=now)
    return Live(id=id, uid=uid, version=term, fingerprint="", labels={}, body=body, is_going=going)
