# SPDX-License-Identifier: BSD-2-Clause
"""To which project each host name leads by now: one gives it up before another can have it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .project.names import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Of one project: the names that it is to have, and those that lead to it, of which it may be to give some up."""

    ref: Ref
    wanted: frozenset[str]
    held: frozenset[str]


class Holders:
    """Who has which name, while a run goes from project to project."""

    def __init__(self, claims: Iterable[Claim], left_over: Mapping[str, object] = MappingProxyType({})) -> None:
        """`left_over`: names that a Gateway without a project still lets in, each with that Gateway."""
        self._left_over = left_over
        self._claims = {one.ref: one for one in sorted(claims, key=lambda one: one.ref)}
        # Whose it is, and behind that one whoever has not let go of it either.
        self._holders: dict[str, list[Ref]] = {}
        for is_kept in (True, False):
            for one in self._claims.values():
                for domain in one.held:
                    if (domain in one.wanted) is is_kept:
                        self._holders.setdefault(domain, []).append(one.ref)

    def order(self) -> list[Ref]:
        """All projects, each after those that give up what it is to have. In a ring somebody has to be the first."""
        found: list[Ref] = []
        waiting: Mapping[Ref, Claim] = self._claims
        while waiting:
            given = {domain for one in waiting.values() for domain in one.held - one.wanted}
            turn = {one.ref for one in waiting.values() if not one.wanted & given} or {next(iter(waiting))}
            found += sorted(turn)
            waiting = {ref: one for ref, one in waiting.items() if ref not in turn}
        return found

    def claim(self, domain: str, ref: Ref) -> str:
        """Why a project cannot have a name; empty if it can, and then nobody else can."""
        if domain not in self._holders and domain in self._left_over:
            gateway = self._left_over[domain]
            return f"{domain} leads to {gateway}, whose project has no record; delete that if nobody needs it"
        holder, *_others = self._holders.setdefault(domain, [ref])
        if holder == ref:
            return ""
        if domain in self._claims[holder].wanted:
            return f"{domain} leads to the project {holder}; take it from that first"
        return f"{domain} is still held by the project {holder}, which is to give it up; run again when it has"

    def let_go(self, ref: Ref, kept: Collection[str]) -> None:
        """Nothing that it had leads to a project any more but these names."""
        for domain in self._claims[ref].held - {*kept}:
            self._holders[domain].remove(ref)
            if not self._holders[domain]:
                del self._holders[domain]
