# SPDX-License-Identifier: BSD-2-Clause
"""What the answer of a project's service to a probe through the gateway says of it. Pure.

Statuses: Traefik has 503 for a service without pods, 502 and 504 for one that it cannot talk to, 500 where it cannot
ask who verifies keys (pkg/middlewares/auth/forward.go) or a route names no service; PostgREST has 503 and 504 while it
gets no session (its docs/references/errors.rst, group 0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from .service_keys import AUTH, REST

# Where each part of a project is asked, below its address.
PATHS: Mapping[str, str] = {REST: "/rest/v1/", AUTH: "/auth/v1/health"}
# Of what is in an answer's body nothing else is shown.
CODE = re.compile(r"[A-Z0-9]{5,9}")

_GONE = frozenset({502, 503, 504})
_REFUSED = frozenset({401, 403})


class Fault(StrEnum):
    """Why there is no answer. Only with `SILENT` was there a gateway that took the request."""

    CONNECT = "connect"
    TLS = "tls"
    CUT = "cut"
    SILENT = "silent"


class State(StrEnum):
    """Of a part of a project, or of a whole project, from the best to the worst.

    `limited`: the project's share of requests is used up, so nothing is known. `degraded`: it answers, and not as it
    should. `unreachable`: the gateway does not answer. `down`: the gateway answers that the service does not.
    """

    UP = "up"
    LIMITED = "limited"
    UNREACHABLE = "unreachable"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How one request ended: with a status and perhaps the service's own code for it, or with a fault.

    `reason`: the words of whoever found the fault. `gateway_answers`: after silence, whether the gateway answers a
    request that gets no further than itself.
    """

    status: int | None = None
    code: str = ""
    fault: Fault | None = None
    reason: str = ""
    gateway_answers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe says of a part, and why it is not up."""

    state: State
    why: str = ""


def finding_of(probe: Probe) -> Finding:
    """1. 200 is up, and 429 says nothing.
    2. Without an answer it is the gateway that is away, unless that answers without the service.
    3. 502, 503 and 504 say that the service is down.
    4. A key that is refused, a route that is missing and all else is not mended by a restart.
    """
    if probe.status is None:
        return _without_answer(probe)
    said = f"answers {probe.status}" + (f" ({probe.code})" if probe.code else "")
    if probe.status == 200:
        return Finding(state=State.UP)
    if probe.status == 429:
        return Finding(state=State.LIMITED, why=f"{said}: the project's share of requests is used up")
    if probe.status in _GONE:
        return Finding(state=State.DOWN, why=said)
    if probe.status in _REFUSED:
        said += ": the project's own key is refused; run projects.yml with supalove_drift=full"
    elif probe.status == 404 and not probe.code:
        said += ": there is no route to it; run projects.yml with supalove_drift=full"
    elif probe.status == 500:
        said += ": it fails itself, or the gateway's verifier of keys does, or its Service is gone"
    return Finding(state=State.DEGRADED, why=said)


def _without_answer(probe: Probe) -> Finding:
    if probe.fault is Fault.SILENT and probe.gateway_answers:
        return Finding(state=State.DOWN, why=probe.reason)
    return Finding(state=State.UNREACHABLE, why=f"the gateway does not answer: {probe.reason}")


def worst(states: Iterable[State]) -> State:
    """The state of a project whose parts have these."""
    order = list(State)
    return max(states, key=order.index)


def why_of(findings: Mapping[str, Finding]) -> str:
    """Which parts are not up, and why."""
    return "; ".join(f"{part} {one.why}" for part, one in sorted(findings.items()) if one.state is not State.UP)


def code_in(said: object) -> str:
    """The service's own code in the JSON of an answer; empty if there is none that looks like one."""
    code = said.get("code") if isinstance(said, dict) else None
    return code if isinstance(code, str) and CODE.fullmatch(code) else ""
