# SPDX-License-Identifier: BSD-2-Clause
"""What a verification of isolation is about: its choice, the homes and targets that there are, its report. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .backends.kubernetes.records import Record
from .errors import InvalidSpec, Problem
from .isolation import TCP, UDP, WRONG, Home, Judged, Part, Source, Target, Verdict, home_of_cluster, home_of_project
from .objects import Body
from .project.model import Platform
from .project.names import COMPONENT_LABEL, Ref, namespace_of
from .project.vocabulary import ABSENT
from .render.archive import asks_names
from .render.context import DATA_PLANE

# Of each placement, if nobody chooses.
PROJECTS_BY_PLACEMENT = 2
SHOWN_FINDINGS = 50
SHOWN_LINES = 10
DNS_LABELS = {"k8s-app": "kube-dns"}
# CoreDNS shows its metrics there; its pods need not declare it.
DNS_METRICS_PORT = 9153
LARGEST_PORT = 65535
_COMPONENTS = {Part.POOLER.value: Part.POOLER, Part.DATABASE.value: Part.DATABASE}
_NOUNS = {Part.POOLER: "pooler", Part.DATABASE: "database"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the user chose. `refs`, `nodes`: None for those that there are. Addresses are `ADDRESS:PORT`.

    `metadata` are addresses where there may be nobody, `outside` those where somebody has to be.
    """

    refs: tuple[str, ...] | None = None
    nodes: tuple[str, ...] | None = None
    node_ports: tuple[int, ...] = (22, 10250)
    metadata: tuple[str, ...] = ("169.254.169.254:80",)
    outside: tuple[str, ...] = ()
    settle_seconds: float = 60.0
    answer_seconds: int = 3

    def check(self) -> None:
        """Raise InvalidSpec with every wrong address and number."""
        allowed = "an IPv4 address and a port, such as 203.0.113.10:443"
        wrong = [
            Problem(path=f"{name}[{number}]", value=text, allowed=allowed)
            for name, texts in (("metadata", self.metadata), ("outside", self.outside))
            for number, text in enumerate(texts)
            if _address(text) is None
        ]
        ports = [
            Problem(path=f"node_ports[{number}]", value=port, allowed=f"a port from 1 to {LARGEST_PORT}")
            for number, port in enumerate(self.node_ports)
            if not 1 <= port <= LARGEST_PORT
        ]
        if wrong or ports:
            raise InvalidSpec((*wrong, *ports))


def _address(text: str) -> tuple[str, int] | None:
    """Host and port; None if they are not both there.

    >>> _address("203.0.113.10:80")
    ('203.0.113.10', 80)
    """
    host, _colon, port = text.rpartition(":")
    try:
        address, number = ipaddress.IPv4Address(host), int(port)
    except ValueError:
        return None
    return (str(address), number) if 1 <= number <= LARGEST_PORT else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node: its own address, and whether tenants' pods run on it."""

    name: str
    address: str
    is_data_plane: bool

    @classmethod
    def from_object(cls, body: Body) -> Node:
        """From the API's form; the address is empty as long as the node has not said it."""
        found = (body.get("status") or {}).get("addresses") or ()
        meta = body["metadata"]
        return cls(
            name=meta["name"],
            address=next((one["address"] for one in found if one["type"] == "InternalIP"), ""),
            is_data_plane=(meta.get("labels") or {}).get(DATA_PLANE) == "true",
        )


def choose_nodes(nodes: Iterable[Node], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Names of data-plane nodes, all or some. Raises InvalidSpec if there is none of a name, or none at all."""
    known = sorted(node.name for node in nodes if node.is_data_plane)
    allowed = f"nodes of the data plane: {', '.join(known) or 'there are none'}"
    problems = tuple(
        Problem(path=f"nodes[{number}]", value=name, allowed=allowed)
        for number, name in enumerate(wanted or ())
        if name not in known
    )
    if problems or not known:
        raise InvalidSpec(problems or (Problem(path="nodes", value=None, allowed=allowed),))
    return tuple(known) if wanted is None else tuple(dict.fromkeys(wanted))


def homes_of(known: Mapping[Ref, Record], refs: Sequence[str] | None, platform: Platform) -> tuple[Home, ...]:
    """The namespaces to verify: of projects, of the shared clusters that they are on, and the platform's own.

    By default of two projects of each placement, of those that run, in the order of their refs. Raises InvalidSpec if
    one that was chosen does not exist.
    """
    placed = {ref: record.placed.placement for ref, record in sorted(known.items()) if record.placed is not None}
    allowed = f"refs of projects that the platform has: {', '.join(placed) or 'it has none'}"
    problems = tuple(
        Problem(path=f"refs[{number}]", value=ref, allowed=allowed)
        for number, ref in enumerate(refs or ())
        if ref not in placed
    )
    if problems:
        raise InvalidSpec(problems)
    chosen = _some_of_each(known, list(placed)) if refs is None else [Ref(ref) for ref in dict.fromkeys(refs)]
    projects = [home_of_project(namespace_of(ref), placed[ref].cluster) for ref in chosen]
    clusters = sorted({home.cluster for home in projects if home.cluster is not None})
    system = Home(namespace=platform.namespace, parts=(Part.SYSTEM,))
    names = asks_names(platform)
    return (*projects, *(home_of_cluster(cluster, asks_names=names) for cluster in clusters), system)


def _some_of_each(known: Mapping[Ref, Record], refs: Iterable[Ref]) -> list[Ref]:
    chosen: list[Ref] = []
    counts: Counter[bool] = Counter()
    for ref in refs:
        record = known[ref]
        is_shared = record.placed is not None and record.placed.placement.cluster is not None
        if record.spec.get("state") != ABSENT and counts[is_shared] < PROJECTS_BY_PLACEMENT:
            counts[is_shared] += 1
            chosen.append(ref)
    return chosen


def targets_of_home(home: Home, pods: Iterable[Body], services: Iterable[Body]) -> Iterator[Target]:
    """The running poolers and databases of a namespace, by their own address and by their Service's."""
    for pod in pods:
        part = _COMPONENTS.get((pod["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))
        address = _address_of(pod)
        if part is not None and address:
            what = f"the {_NOUNS[part]} in {home.namespace}"
            yield from (
                Target(what=what, part=part, address=address, port=port, namespace=home.namespace)
                for port, _protocol in _declared(pod)
            )
    for service in services:
        part = _COMPONENTS.get((service["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))
        if part is not None:
            what = f"the Service of the {_NOUNS[part]} in {home.namespace}"
            for address, port, protocol in _service_ports(service):
                yield Target(
                    what=what, part=part, address=address, port=port, protocol=protocol, namespace=home.namespace
                )


def targets_of_kube_system(pods: Iterable[Body], services: Iterable[Body]) -> Iterator[Target]:
    """What runs in kube-system: of DNS its port and others, of all else what its pods declare."""
    for pod in pods:
        address = _address_of(pod)
        if not address or pod["spec"].get("hostNetwork"):
            continue
        is_dns = _has(pod["metadata"].get("labels"), DNS_LABELS)
        ports = dict.fromkeys([*_declared(pod), *([(DNS_METRICS_PORT, TCP)] if is_dns else [])])
        what = f"the pod {pod['metadata']['name']} in kube-system"
        yield from (_of_system(what, address, port, protocol, is_dns=is_dns) for port, protocol in ports)
    for service in services:
        is_dns = _has(service["spec"].get("selector"), DNS_LABELS)
        what = f"the Service {service['metadata']['name']} in kube-system"
        for address, port, protocol in _service_ports(service):
            if is_dns or protocol == TCP:
                yield _of_system(what, address, port, protocol, is_dns=is_dns)


def _of_system(what: str, address: str, port: int, protocol: str, *, is_dns: bool) -> Target:
    part = Part.DNS if is_dns and port == 53 else Part.ELSEWHERE
    return Target(what=what, part=part, address=address, port=port, protocol=protocol)


def targets_elsewhere(choice: Choice, nodes: Iterable[Node], service: Body, slices: Iterable[Body]) -> Iterator[Target]:
    """What no pod of a tenant may reach outside of the pods' network: nodes, the API server, chosen addresses."""
    for node in nodes:
        for port in choice.node_ports if node.address else ():
            yield Target(what=f"the node {node.name}", part=Part.ELSEWHERE, address=node.address, port=port)
    for address, port, _protocol in _service_ports(service):
        yield Target(what="the Service of the API server", part=Part.ELSEWHERE, address=address, port=port)
    for one in slices:
        for endpoint in one.get("endpoints") or ():
            for address in endpoint["addresses"]:
                for port in one.get("ports") or ():
                    yield Target(what="the API server", part=Part.ELSEWHERE, address=address, port=port["port"])
    for texts, what in ((choice.metadata, "the metadata address"), (choice.outside, "the address outside")):
        for text in texts:
            address, port = _address(text) or ("", 0)
            is_optional = texts is choice.metadata
            yield Target(what=what, part=Part.ELSEWHERE, address=address, port=port, is_optional=is_optional)


def _address_of(pod: Body) -> str:
    status = pod.get("status") or {}
    is_up = status.get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    return str(status.get("podIP") or "") if is_up else ""


def _declared(pod: Body) -> list[tuple[int, str]]:
    """Ports that a pod's containers say they listen on; of UDP only DNS, as others answer to no question of ours."""
    found = [
        (port["containerPort"], str(port.get("protocol", "TCP")).lower())
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
    ]
    return [(port, protocol) for port, protocol in found if protocol == TCP or (port, protocol) == (53, UDP)]


def _service_ports(service: Body) -> Iterator[tuple[str, int, str]]:
    spec = service["spec"]
    if spec.get("clusterIP") not in (None, "", "None"):
        for port in spec.get("ports") or ():
            yield spec["clusterIP"], port["port"], str(port.get("protocol", "TCP")).lower()


def _has(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= (found or {}).items()


def namespaces_of(homes: Iterable[Home]) -> list[str]:
    """The names, sorted."""
    return sorted({home.namespace for home in homes})


def report(judged: Iterable[Judged], *, nodes: Sequence[str], homes: Sequence[Home]) -> dict[str, Any]:
    """The module's result: counts, and every pair that somebody has to look at, the worst first, up to a limit."""
    wrong: list[Judged] = []
    counts = Counter({verdict.value: 0 for verdict in Verdict})
    absent: set[str] = set()
    for one in judged:
        counts[one.verdict.value] += 1
        if one.verdict in WRONG:
            wrong.append(one)
        elif one.verdict is Verdict.ABSENT:
            absent.add(str(one.pair.target))
    wrong = _by_weight(wrong)
    result: dict[str, Any] = {
        "changed": False,
        "counts": {"pairs": sum(counts.values()), **counts},
        "nodes": list(nodes),
        "namespaces": namespaces_of(homes),
        "absent": sorted(absent),
        "findings": [_finding(one) for one in wrong[:SHOWN_FINDINGS]],
    }
    return {**result, "failed": True, "msg": message(wrong, result["counts"])} if wrong else result


def _by_weight(wrong: Iterable[Judged]) -> list[Judged]:
    """The worst first, but sources and verdicts by turns: one that reaches all would fill a short list alone."""
    order = list(Verdict)
    seen: Counter[tuple[Verdict, Source]] = Counter()
    ranked: list[tuple[int, int, Judged]] = []
    for one in wrong:
        key = (one.verdict, one.pair.source)
        ranked.append((seen[key], order.index(one.verdict), one))
        seen[key] += 1
    return [one for _turn, _weight, one in sorted(ranked, key=lambda entry: entry[:2])]


def _finding(one: Judged) -> dict[str, str]:
    return {
        "verdict": one.verdict.value,
        "source": str(one.pair.source),
        "target": str(one.pair.target),
        "expected": "closed" if one.pair.expected.value == "closed" else "open",
        "found": "open" if one.is_open else "closed",
        "reason": one.reason,
    }


_ADVICE = {
    Verdict.LEAK: "A leak: look which NetworkPolicy of the two namespaces opens it (kubectl get networkpolicy -n "
    "NAMESPACE); run playbooks/projects.yml, which puts the platform's own back; remove others. If none opens it, the "
    "node's enforcer does not keep the policies.",
    Verdict.BROKEN: "Broken: the path is allowed and closed. Look at the pods of the target, and at what enforces "
    "policies on the two nodes.",
    Verdict.UNPROVEN: "Unproven: it is closed, and would look so without a policy, too. Let the target answer, or "
    "leave it out of the options.",
}


def message(wrong: Sequence[Judged], counts: Mapping[str, int]) -> str:
    """What failed, in lines: the first pairs, and for each kind of fault what to do."""
    kinds = Counter(one.verdict for one in wrong)
    summary = ", ".join(f"{kinds[verdict]} {verdict.value}" for verdict in WRONG if kinds[verdict])
    lines = [f"{len(wrong)} of {counts['pairs']} pairs are not as they should be ({summary}):"]
    for one in wrong[:SHOWN_LINES]:
        found = _finding(one)
        lines.append(
            f"  - {one.verdict.value}: {found['source']} to {found['target']}: expected {found['expected']} "
            f"({found['reason']}), found {found['found']}"
        )
    if len(wrong) > SHOWN_LINES:
        lines.append(f"  - and {len(wrong) - SHOWN_LINES} more")
    return "\n".join([*lines, *(text for verdict, text in _ADVICE.items() if verdict in kinds)])
