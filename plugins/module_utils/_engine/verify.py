# SPDX-License-Identifier: BSD-2-Clause
"""Verifying isolation with real packets: probes in tenants' places, a question of each to all, and nothing left."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .backends.kubernetes import records
from .backends.kubernetes.apply import create
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import collection_path, object_path
from .backends.kubernetes.lease import Lease
from .backends.kubernetes.probes import ask, read_probes, remove_probes
from .backends.kubernetes.readiness import trouble_of
from .deadline import Deadline
from .errors import DeadlineExceeded, NotFound, SafetyStop
from .isolation import (
    UDP,
    WRONG,
    Home,
    Judged,
    Part,
    Source,
    Target,
    judge,
    listener,
    pairs_of,
    rounds_of,
)
from .objects import Body, ObjectId
from .parallel import in_parallel
from .progress import Progress
from .project.model import Platform
from .render.probe import ORDERS_PORT, OTHER_PORT, PORTS, render_outside, render_probe
from .settings import Settings
from .verification import (
    Choice,
    Node,
    choose_nodes,
    homes_of,
    report,
    targets_elsewhere,
    targets_of_home,
    targets_of_kube_system,
)

POLL_SECONDS = 0.5
PAUSE_SECONDS = 1.0
# A round may not end with the first: where policies come into force late, all is open, or closed, at first.
LEAST_TURNS = 2
REMOVE_SECONDS = 60.0
START_SECONDS = 120.0
KUBE_SYSTEM = "kube-system"
_TOKEN_BYTES = 3
# Probes of a project's database on one of two nodes: with both, its quota would have no room for a pooler's successor.
_ON_ONE_NODE = Part.DATABASE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What is to be verified, and how."""

    client: Client
    platform: Platform
    choice: Choice
    settings: Settings
    progress: Progress
    deadline: Deadline
    nodes: tuple[str, ...]
    homes: tuple[Home, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """A probe by its object, and what it is a source of."""

    id: ObjectId
    source: Source


def verify(
    client: Client | None, platform: Platform, *, choice: Choice, settings: Settings, progress: Progress
) -> dict[str, Any]:
    """The module's result. In check mode it says what would be tried, and nothing is made or sent.

    1. Take the lease: projects that change meanwhile would look like faults.
    2. Remove what a run that was killed has left.
    3. For each two nodes: start the probes, let each ask all, until all answers are as expected or the time to settle
       is over. The last turn counts.
    4. Remove the probes, come what may.

    Raises InvalidSpec for a choice that does not exist, SafetyStop if another run is at work or there is no platform,
    BackendError if the cluster cannot be read, DeadlineExceeded if probes do not start or go.
    """
    choice.check()
    if client is None:
        raise SafetyStop("There is no cluster yet, so there is nothing to verify. Run playbooks/site.yml first.")
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    scope = _scope(client, platform, choice, settings, progress, deadline)
    if settings.check:
        return {**report((), nodes=scope.nodes, homes=scope.homes), "targets": [str(one) for one in scope.targets]}
    judged: list[Judged] = []
    seconds = settings.lease_seconds
    with Lease(client, platform.namespace, seconds=seconds, progress=progress, deadline=deadline) as lease:
        scope = replace(scope, deadline=lease.bound(deadline))
        remove_probes(client, platform.namespace, deadline=scope.deadline)
        for nodes in rounds_of(scope.nodes):
            judged += _round(scope, nodes)
    return {**report(judged, nodes=scope.nodes, homes=scope.homes), "targets": [str(one) for one in scope.targets]}


def _scope(
    client: Client,
    platform: Platform,
    choice: Choice,
    settings: Settings,
    progress: Progress,
    deadline: Deadline,
) -> _Scope:
    try:
        known = records.read_records(client, platform.namespace, deadline=deadline)
    except NotFound as error:
        raise SafetyStop(f"The platform is not prepared ({error}). Run playbooks/projects.yml first.") from error
    homes = homes_of(known, choice.refs, platform)
    bodies = client.list(collection_path("Node"), subject="Node", deadline=deadline, query={})
    nodes = [Node.from_object(body) for body in bodies]
    return _Scope(
        client=client,
        platform=platform,
        choice=choice,
        settings=settings,
        progress=progress,
        deadline=deadline,
        nodes=choose_nodes(nodes, choice.nodes),
        homes=homes,
        targets=tuple(dict.fromkeys(_targets(client, choice, homes, nodes, deadline))),
    )


def _targets(
    client: Client, choice: Choice, homes: Sequence[Home], nodes: Sequence[Node], deadline: Deadline
) -> Iterator[Target]:
    def read(kind: str, namespace: str, **query: str) -> list[Body]:
        path = collection_path(kind, namespace)
        return client.list(path, subject=f"{kind}/{namespace}", deadline=deadline, query=query)

    for home in homes:
        yield from targets_of_home(home, read("Pod", home.namespace), read("Service", home.namespace))
    yield from targets_of_kube_system(read("Pod", KUBE_SYSTEM), read("Service", KUBE_SYSTEM))
    id = ObjectId(kind="Service", namespace="default", name="kubernetes")
    service = client.get(object_path(id), subject=str(id), deadline=deadline)
    slices = read("EndpointSlice", "default", labelSelector="kubernetes.io/service-name=kubernetes")
    yield from targets_elsewhere(choice, nodes, service, slices)


def _round(scope: _Scope, nodes: tuple[str, ...]) -> tuple[Judged, ...]:
    with _probes(scope, nodes) as probes:
        own = [listener(probe.source, port) for probe in probes for port in PORTS]
        own += [listener(probe.source, OTHER_PORT, UDP) for probe in probes]
        targets = (*scope.targets, *own)
        scope.progress.note(f"{' and '.join(nodes)}: {len(probes)} probes ask {len(targets)} targets")
        return _last_turn(scope, probes, targets)


def _last_turn(scope: _Scope, probes: Sequence[_Probe], targets: Sequence[Target]) -> tuple[Judged, ...]:
    """Ask until all is as expected or the time to settle is over; what came of it then."""
    until = time.monotonic() + scope.choice.settle_seconds
    order = _order(scope, targets)
    pairs = pairs_of((probe.source for probe in probes), targets)
    turn = 0
    while True:
        turn += 1
        said = in_parallel(lambda probe: _ask(scope, probe, order, len(targets)), probes, workers=len(probes))
        judged = judge(pairs, [answer for one in said for answer in one])
        odd = sum(one.verdict in WRONG for one in judged)
        if turn >= LEAST_TURNS and (not odd or time.monotonic() >= until):
            return judged
        if odd:
            scope.progress.note(f"{odd} of {len(pairs)} answers are not as expected, asking again")
            time.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def _probes(scope: _Scope, nodes: tuple[str, ...]) -> Iterator[list[_Probe]]:
    """Probes that run. They are removed at the end, in time of their own."""
    token = secrets.token_hex(_TOKEN_BYTES)
    outside = render_outside(scope.platform, f"{scope.platform.namespace}-probe-{token}")
    homes = (*scope.homes, Home(namespace=outside.id.name, parts=(Part.OUTSIDER,)))
    wanted = {
        ObjectId(kind="Pod", namespace=home.namespace, name=f"probe-{token}-{part}-{number}"): (home, part, node)
        for home in homes
        for part in home.parts
        for number, node in enumerate(nodes[:1] if home.is_project and part is _ON_ONE_NODE else nodes)
    }
    try:
        create(scope.client, outside, deadline=scope.deadline)
        in_parallel(lambda id: _start(scope, id, *wanted[id]), wanted, workers=scope.settings.workers)
        addresses = _await_addresses(scope, wanted)
        yield [
            _Probe(id=id, source=Source(home=home, part=part, node=node, address=addresses[id]))
            for id, (home, part, node) in wanted.items()
        ]
    finally:
        deadline = Deadline(limit_seconds=REMOVE_SECONDS)
        remove_probes(scope.client, scope.platform.namespace, deadline=deadline)


def _start(scope: _Scope, id: ObjectId, home: Home, part: Part, node: str) -> None:
    seconds = round(scope.settings.timeout_seconds + REMOVE_SECONDS)
    probe = render_probe(scope.platform, namespace=home.namespace, part=part, node=node, name=id.name, seconds=seconds)
    create(scope.client, probe, deadline=scope.deadline)


def _await_addresses(scope: _Scope, wanted: Collection[ObjectId]) -> dict[ObjectId, str]:
    """The addresses of probes, when all run. Raises DeadlineExceeded with what keeps the others."""
    deadline = Deadline(limit_seconds=min(START_SECONDS, scope.deadline.remaining()))
    while True:
        pods = {
            ObjectId(kind="Pod", namespace=pod["metadata"]["namespace"], name=pod["metadata"]["name"]): pod
            for pod in read_probes(scope.client, scope.platform.namespace, deadline=scope.deadline)
        }
        late = [id for id in wanted if not _runs(pods.get(id))]
        if not late:
            return {id: str(pods[id]["status"]["podIP"]) for id in wanted}
        if deadline.remaining() <= POLL_SECONDS:
            reasons = [f"{id}: {trouble_of(pods[id]) or 'it is starting'}" for id in late if id in pods]
            raise DeadlineExceeded(
                f"{len(late)} of {len(wanted)} probes do not run, so nothing was verified: {'; '.join(reasons[:3])}"
            )
        time.sleep(POLL_SECONDS)


def _runs(pod: Body | None) -> bool:
    status = (pod or {}).get("status") or {}
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _ask(scope: _Scope, probe: _Probe, order: str, answers: int) -> Sequence[bool]:
    seconds = scope.choice.answer_seconds
    return ask(
        scope.client,
        probe.id,
        port=ORDERS_PORT,
        order=order,
        answers=answers,
        seconds=seconds,
        deadline=scope.deadline,
    )


def _order(scope: _Scope, targets: Sequence[Target]) -> str:
    lines = [f"{one.protocol} {one.address} {one.port}" for one in targets]
    question = dns_question(f"kubernetes.default.svc.{scope.platform.cluster_domain}")
    return "\n".join([f"{scope.choice.answer_seconds} {question.hex()}", *lines, "", ""])


def dns_question(name: str) -> bytes:
    r"""A question for the address of a name, as RFC 1035 has it. It is what goes to targets of UDP, whatever they are.

    >>> dns_question("a.b")[12:]
    b'\\x01a\\x01b\\x00\\x00\\x01\\x00\\x01'
    """
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x53\x4c\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
