# SPDX-License-Identifier: BSD-2-Clause
"""How far host names of projects' own are, as a run tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from .project.domains import Proof, proof_of
from .project.names import Ref, Uid
from .steps import Failure


class State(StrEnum):
    """How far a name is, the worst first.

    `failed`: something else keeps it from being served, or from being known to be. `uncertified`: it is proven, and has
    no certificate or only the one from before.
    """

    FAILED = "failed"
    TAKEN = "taken"
    UNCERTIFIED = "uncertified"
    UNVERIFIED = "unverified"
    SERVED = "served"

    @property
    def is_failure(self) -> bool:
        """True for what the platform's people have to mend. A proof is the matter of who has the name."""
        return self in (State.FAILED, State.TAKEN, State.UNCERTIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One name of a project. `message`: what is missing; empty if it is served. `proof`: the record to be made."""

    ref: Ref
    domain: str
    state: State
    message: str
    proof: Proof


# By name, of those that are not served.
Wrong = Mapping[str, tuple[State, str]]


def told_of(ref: Ref, uid: Uid, domains: Iterable[str], wrong: Wrong) -> tuple[Told, ...]:
    """A project's names, served but for what is wrong."""
    states = ((domain, *wrong.get(domain, (State.SERVED, ""))) for domain in domains)
    return tuple(
        Told(ref=ref, domain=domain, state=state, message=message, proof=proof_of(uid, domain))
        for domain, state, message in states
    )


def after(failure: Failure | None, told: Iterable[Told]) -> tuple[Told, ...]:
    """The same after what became of their project: if that failed, none is known to be served."""
    if failure is None:
        return tuple(told)
    message = f"{failure.object}: {failure.reason}"
    return tuple(
        replace(one, state=State.FAILED, message=message) if one.state is State.SERVED else one for one in told
    )


def failure_of(told: Iterable[Told]) -> Failure | None:
    """What a project's names are to its people: a failure, if there is one that they have to mend."""
    bad = [one for one in told if one.state.is_failure]
    if not bad:
        return None
    names, reasons = ", ".join(one.domain for one in bad), "; ".join(one.message for one in bad)
    return Failure(step="serve", object=names, reason=reasons)
