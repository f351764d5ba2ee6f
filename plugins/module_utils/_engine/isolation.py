# SPDX-License-Identifier: BSD-2-Clause
"""Who may reach whom, said a second time and apart from the policies; and what a try of it proves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .project.names import cluster_namespace_of
from .render.context import Context

TCP, UDP = "tcp", "udp"


class Part(StrEnum):
    """What a pod is in the eyes of the policies, or what else it is that is asked."""

    CLIENT = "client"
    POOLER = "pooler"
    DATABASE = "postgresql"
    SYSTEM = "system"
    OUTSIDER = "outsider"
    DNS = "dns"
    ELSEWHERE = "elsewhere"


# In messages. An outsider is a pod of the namespace that a verification makes for itself.
_WORDS = {
    Part.CLIENT: "a pod",
    Part.POOLER: "a pooler",
    Part.DATABASE: "a database",
    Part.SYSTEM: "a pod",
    Part.OUTSIDER: "a pod without policies",
}


class Expected(StrEnum):
    """`control`: it should answer, and is asked only to show that the target does answer somebody."""

    OPEN = "open"
    CONTROL = "control"
    CLOSED = "closed"


class Verdict(StrEnum):
    """The worst first. `absent`: nobody is at an address that need not be there; that proves nothing either way."""

    LEAK = "leak"
    BROKEN = "broken"
    UNPROVEN = "unproven"
    ABSENT = "absent"
    AS_EXPECTED = "as_expected"


# Verdicts that somebody has to look at.
WRONG = (Verdict.LEAK, Verdict.BROKEN, Verdict.UNPROVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A namespace that has probes. `parts` are those that they play. `cluster`: the shared one of its project.

    `asks_names`: one of a shared cluster's may ask DNS, as its object store is known by a name.
    """

    namespace: str
    parts: tuple[Part, ...]
    cluster: str | None = None
    asks_names: bool = False

    @property
    def is_project(self) -> bool:
        """True for the namespace of a project."""
        return Part.CLIENT in self.parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A probe that runs."""

    home: Home
    part: Part
    node: str
    address: str

    def __str__(self) -> str:
        return f"{_WORDS[self.part]} in {self.home.namespace} on {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that listens. `node` is set for probes. `is_optional`: it is well if nobody is there at all."""

    what: str
    part: Part
    address: str
    port: int
    protocol: str = TCP
    namespace: str = ""
    node: str = ""
    is_optional: bool = False

    def __str__(self) -> str:
        return f"{self.what}, {self.address} {self.protocol} {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A source that asks a target, and the answer that it should get."""

    source: Source
    target: Target
    expected: Expected
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A pair and what came of it."""

    pair: Pair
    is_open: bool
    verdict: Verdict
    reason: str


def home_of_project(namespace: str, cluster: str | None) -> Home:
    """Where a project is; `cluster` is None if it has a PostgreSQL of its own."""
    database = (Part.DATABASE,) if cluster is None else ()
    return Home(namespace=namespace, parts=(Part.CLIENT, Part.POOLER, *database), cluster=cluster)


def home_of_cluster(cluster: str, *, asks_names: bool = False) -> Home:
    """Where a shared cluster is."""
    namespace = cluster_namespace_of(cluster)
    return Home(namespace=namespace, parts=(Part.DATABASE,), cluster=cluster, asks_names=asks_names)


def rounds_of(nodes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The nodes two by two, so that a project's quota has room for its probes; an odd one goes with the first.

    >>> rounds_of(["a", "b", "c"])
    (('a', 'b'), ('c', 'a'))
    """
    pairs = [tuple(nodes[number : number + 2]) for number in range(0, len(nodes), 2)]
    if len(pairs) > 1 and len(pairs[-1]) == 1:
        pairs[-1] = (*pairs[-1], nodes[0])
    return tuple(pairs)


def listener(source: Source, port: int, protocol: str = TCP) -> Target:
    """A probe as a target: it listens on its ports for everybody, so only policies keep others away."""
    return Target(
        what=str(source),
        part=source.part,
        address=source.address,
        port=port,
        protocol=protocol,
        namespace=source.home.namespace,
        node=source.node,
    )


def pairs_of(sources: Iterable[Source], targets: Collection[Target]) -> tuple[Pair, ...]:
    """Every source with every target."""
    return tuple(_pair(source, target) for source in sources for target in targets)


def _pair(source: Source, target: Target) -> Pair:
    expected, reason = expectation(source, target)
    return Pair(source=source, target=target, expected=expected, reason=reason)


def expectation(source: Source, target: Target) -> tuple[Expected, str]:
    """What should come of it, and why.

    1. A probe reaches its own address, which shows that it listens.
    2. A pod without policies reaches all that no policy of ours protects, which shows that it answers.
    3. Every pod of a project reaches DNS, and the project's pooler on its port. A shared cluster reaches DNS if its
       object store is known by a name.
    4. The pooler reaches its database on the database's port: the project's own, or that of its shared cluster.
    5. All else is closed.
    """
    if target.address == source.address:
        return Expected.CONTROL, "a pod reaches itself"
    if source.part is Part.OUTSIDER:
        if target.part in (Part.DNS, Part.ELSEWHERE, Part.OUTSIDER):
            return Expected.CONTROL, "no policy keeps it away"
        return Expected.CLOSED, "nobody from another namespace may come in"
    if target.part is Part.DNS and (source.home.is_project or source.home.asks_names):
        return Expected.OPEN, "pods of projects may ask DNS, and a shared cluster for the name of its object store"
    if not source.home.is_project:
        return Expected.CLOSED, f"nothing in {source.home.namespace} may go out, and nothing comes in to it from here"
    is_own = target.namespace == source.home.namespace
    if is_own and target.part is Part.POOLER and _is_at(target, Context.POOLER_PORT):
        return Expected.OPEN, "pods of a project may use its pooler"
    if source.part is Part.POOLER and _is_database_of(source.home, target):
        return Expected.OPEN, "a pooler may use its database"
    return Expected.CLOSED, "pods of projects reach DNS and their own pooler, and only a pooler its own database"


def _is_database_of(home: Home, target: Target) -> bool:
    where = home.namespace if home.cluster is None else cluster_namespace_of(home.cluster)
    return target.part is Part.DATABASE and target.namespace == where and _is_at(target, Context.POSTGRESQL_PORT)


def _is_at(target: Target, port: int) -> bool:
    return target.port == port and target.protocol == TCP


def judge(pairs: Sequence[Pair], answers: Sequence[bool]) -> tuple[Judged, ...]:
    """What the answers mean, one for each pair.

    1. What should be closed and is open is a leak, whatever else happened.
    2. What should be open and is closed is broken.
    3. What is closed as it should be is proven only if the target answered a source on the same node that may reach
       it. For a probe it is enough that it answers itself, and that some pod of the one node reached one of the other.
    4. A control that got no answer is no fault by itself: it leaves unproven what depends on it.
    5. Where nobody at all got an answer from an optional target, nothing is there.
    """
    evidence = _Evidence.of(pairs, answers)
    return tuple(_judged(pair, evidence, is_open=one) for pair, one in zip(pairs, answers, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What answered: targets by the node of who asked, targets at all, and nodes whose pods reached each other."""

    from_node: frozenset[tuple[str, Target]]
    by_itself: frozenset[Target]
    answering: frozenset[Target]
    ways: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], answers: Sequence[bool]) -> _Evidence:
        opened = [pair for pair, is_open in zip(pairs, answers, strict=True) if is_open]
        others = [pair for pair in opened if pair.source.address != pair.target.address]
        return cls(
            from_node=frozenset((pair.source.node, pair.target) for pair in others),
            by_itself=frozenset(pair.target for pair in opened if pair.source.address == pair.target.address),
            answering=frozenset(pair.target for pair in opened),
            ways=frozenset((pair.source.node, pair.target.node) for pair in others if pair.target.node),
        )

    def proves(self, pair: Pair) -> bool:
        """True if the pair is closed by a policy, and not because nobody is there."""
        node, target = pair.source.node, pair.target
        has_way = (node, target.node) in self.ways and target in self.by_itself
        return has_way or (node, target) in self.from_node


def _judged(pair: Pair, evidence: _Evidence, *, is_open: bool) -> Judged:
    verdict, reason = Verdict.AS_EXPECTED, pair.reason
    if is_open and pair.expected is Expected.CLOSED:
        verdict = Verdict.LEAK
    elif not is_open and pair.expected is Expected.OPEN:
        verdict = Verdict.BROKEN
    elif not is_open and pair.target.is_optional and pair.target not in evidence.answering:
        verdict, reason = Verdict.ABSENT, "nobody is there"
    elif pair.expected is Expected.CLOSED and not evidence.proves(pair):
        verdict = Verdict.UNPROVEN
        reason = f"the target answered nobody on {pair.source.node}, not even who may reach it"
    return Judged(pair=pair, is_open=is_open, verdict=verdict, reason=reason)
