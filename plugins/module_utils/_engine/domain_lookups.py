# SPDX-License-Identifier: BSD-2-Clause
"""Whether the DNS says that host names are their projects'."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from .deadline import Deadline
from .errors import DeadlineExceeded, Unreachable
from .parallel import in_parallel
from .project.domains import Proof

# What TXT records say, in a message. They are anybody's, and one may have 64 KiB.
SHOWN_TEXTS = 3
SHOWN_LENGTH = 100

# The texts of a name's TXT records. Raises Unreachable, DeadlineExceeded.
Lookup = Callable[[str, Deadline], tuple[str, ...]]


def doubt_of(proof: Proof, texts: Iterable[str]) -> str:
    """Why TXT records prove nothing; empty if they do. One of several is enough.

    >>> doubt_of(Proof(name="_supalove.api.example.org", text="supalove-verification=a"), ["supalove-verification=a"])
    ''
    """
    found = list(texts)
    if proof.text in found:
        return ""
    said = ", ".join(repr(_short(text)) for text in found[:SHOWN_TEXTS]) or "there is none"
    return f"{_asked_for(proof)}; found: {said}"


def look_up(proofs: Collection[Proof], lookup: Lookup, *, deadline: Deadline, workers: int) -> dict[Proof, str]:
    """Of every proof why there is none; an empty text for one that there is.

    Resolvers that do not answer take half of the time that is left and no more: the rest is for what is proven.
    """
    half = Deadline(limit_seconds=deadline.remaining() / 2)

    def ask(proof: Proof) -> str:
        try:
            return doubt_of(proof, lookup(proof.name, half))
        except Unreachable as error:
            reason = error.reason
        except DeadlineExceeded:
            reason = "no time was left to ask, as others took too long; run again"
        return f"{_asked_for(proof)}; the DNS did not tell: {reason}"

    return dict(zip(proofs, in_parallel(ask, proofs, workers=workers), strict=True))


def _asked_for(proof: Proof) -> str:
    return f"a TXT record of {proof.name} has to say {proof.text}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH else f"{text[: SHOWN_LENGTH - 1]}…"
