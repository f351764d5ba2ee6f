# SPDX-License-Identifier: GPL-3.0-or-later
"""Many projects behind one gateway: how soon they answer, what Traefik holds, and what a request costs there.

The engine makes the projects, Kubernetes' controllers and kwok make their pods, and one fast server answers for all.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    GATEWAY_API,
    PROJECT_LABEL,
    Ref,
    namespace_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import Context
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.routes import KEY
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.services import REST_PORT
from fix_gateway import DOMAIN, path_of

from . import workload
from .cluster import Cluster, Figures, fresh
from .front_door import A_POD, BARE_PORT, Door, opened, order_of
from .processes import cpu_seconds_of, high_water, resident

KEYED_PATH, OPEN_PATH = "/rest/v1/lines?select=id", "/auth/v1/verify?token=abc"
# What is asked, each with its own row.
UPSTREAM, BARE, KEYED, UNCHECKED = "upstream", "bare", "keyed", "unchecked"
# So many projects come later, one by one; and so often a route goes and comes.
REPEATS = 3
IDLE_SECONDS = 5
# Routes that are written at a time.
IN_FLIGHT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of one measurement. `requests`: of one turn, over `connections` that stay open."""

    projects: int
    rounds: int
    requests: int
    connections: int


def measure(size: Size) -> Figures:
    """From no project to all, then one more, then without changes under load."""
    projects = workload.projects(size.projects + REPEATS)
    refs = list(projects)
    known = {ref: projects[ref] for ref in refs[: size.projects]}
    platform = {**workload.platform(len(projects)), "domain": DOMAIN, "gateway_kind": "gateway"}
    figures: Figures = {"size": asdict(size), "later": []}
    with fresh(platform) as cluster, opened(cluster) as door:
        figures["empty_bytes"] = _resident(door)
        with cluster.controllers(projects):
            figures["all"] = _made(cluster, door, known, list(known))
            figures["all"]["rest_seconds"] = door.await_quiet()
            for ref in refs[size.projects :]:
                known[ref] = projects[ref]
                figures["later"].append(_made(cluster, door, known, [ref]))
                door.await_quiet()
        figures["route"] = [_routed(cluster, door, refs[:1]) for _ in range(REPEATS)]
        figures["routes"] = _routed(cluster, door, refs)
        figures["routes"]["rest_seconds"] = door.await_quiet()
        figures["idle"] = door.busy(IDLE_SECONDS)
        figures["full_bytes"] = _resident(door)
        figures["peak_bytes"] = high_water(Path(f"/proc/{door.pids().traefik}"))
        figures["restart"] = _restarted(door, refs)
        figures["restart"]["rest_seconds"] = door.await_quiet()
        figures["restarted_bytes"] = _resident(door)
        keyed = _keyed(cluster)
        door.ask("first", order_of(door, [{**keyed[0], "headers": {}}], status=401))
        figures["turns"] = _loaded(door, keyed, size, (UPSTREAM, BARE, KEYED))
        figures["loaded_bytes"] = _resident(door)
        figures["bare_bytes"] = resident(door.pids().bare)
        figures["verifier_bytes"] = resident(door.pids().verifier)
        _write(cluster, [_without_key(one) for one in _routes(cluster, refs)])
        door.ask("first", order_of(door, [{**one, "headers": {}} for one in keyed]))
        door.await_quiet()
        figures["unchecked_turns"] = _loaded(door, keyed, size, (BARE, UNCHECKED))
    return figures


def _made(cluster: Cluster, door: Door, projects: dict[str, Any], awaited: Sequence[str]) -> Figures:
    """The engine makes those that are not there yet: seconds from its beginning until it is done, and they answer."""
    traefik = door.pids().traefik
    before = cpu_seconds_of(traefik)
    with door.asking("first", order_of(door, _opened(awaited))) as answers:
        found = cluster.engine(projects, wait=True)
    answered, used = answers["last"] - found["began"], cpu_seconds_of(traefik) - before
    _say(
        f"{len(awaited)} made in {found['seconds']:.1f} s, all answer after {answered:.1f} s, Traefik took {used:.1f} s"
    )
    return {"engine_seconds": found["seconds"], "answer_seconds": answered, "traefik_cpu_seconds": used}


def _routed(cluster: Cluster, door: Door, refs: Sequence[str]) -> Figures:
    """The routes of these projects, gone and written again: seconds until they are written, and all answer."""
    routes = _routes(cluster, refs)
    for one in routes:
        cluster.server.request("DELETE", path_of(one))
    door.ask("first", order_of(door, _opened(refs), status=404))
    door.await_quiet()
    with door.asking("first", order_of(door, _opened(refs))) as answers:
        written = _write(cluster, routes)
        # Without the start of that program.
        began = time.time() - written
    _say(f"{len(routes)} routes written in {written:.1f} s, all answer after {answers['last'] - began:.1f} s")
    return {"written_seconds": written, "answer_seconds": answers["last"] - began}


def _routes(cluster: Cluster, refs: Sequence[str]) -> list[Figures]:
    """Of these projects, as they were applied, without what the server and Traefik say of them."""
    spaces = {namespace_of(Ref(ref)) for ref in refs}
    found = cluster.server.request("GET", f"/apis/{GATEWAY_API}/httproutes")["items"]
    return [_applied(one) for one in found if one["metadata"]["namespace"] in spaces]


def _write(cluster: Cluster, routes: Sequence[Figures]) -> float:
    """Seconds that it took."""
    file = cluster.root / "routes.jsonl"
    file.write_text("".join(json.dumps(workload.send(one)) + "\n" for one in routes))
    return float(cluster.floor("sends", file, IN_FLIGHT)["seconds"])


def _without_key(route: Figures) -> Figures:
    """The same route, by which nobody is asked about keys."""
    rules = [
        {**rule, "filters": [one for one in rule["filters"] if one.get("extensionRef", {}).get("name") != KEY]}
        for rule in route["spec"]["rules"]
    ]
    return {**route, "spec": {**route["spec"], "rules": rules}}


def _applied(live: Figures) -> Figures:
    meta = {key: live["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    return {"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": meta, "spec": live["spec"]}


def _restarted(door: Door, refs: Sequence[str]) -> Figures:
    door.gateway.program.stop()
    began = time.time()
    door.gateway.program.start()
    answers = door.ask("first", order_of(door, _opened(refs)))
    _say(f"Traefik started anew: all answer after {answers['last'] - began:.1f} s")
    return {"first_seconds": answers["first"] - began, "last_seconds": answers["last"] - began}


def _loaded(door: Door, keyed: Sequence[Figures], size: Size, names: tuple[str, ...]) -> Figures:
    """Each in turn; the first turn, which opens connections to all, does not count."""
    orders = _orders(door, keyed)
    turns: Figures = {name: [] for name in names}
    for number in range(size.rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            requests = size.requests if number else min(size.requests, 2 * len(keyed))
            order = {**orders[name], "requests": requests, "connections": size.connections}
            found = _turn(door, name, order)
            if number:
                turns[name].append(found)
    return turns


def _orders(door: Door, keyed: Sequence[Figures]) -> Figures:
    gateway = order_of(door, keyed)
    return {
        UPSTREAM: order_of(door, keyed[:1], address=f"{A_POD}:{REST_PORT}", ca=""),
        BARE: order_of(door, keyed[:1], BARE_PORT),
        KEYED: gateway,
        UNCHECKED: gateway,
    }


def _turn(door: Door, name: str, order: Figures) -> Figures:
    """Raises RuntimeError unless all is answered with 200."""
    pids = asdict(door.pids())
    before = {who: cpu_seconds_of(pid) for who, pid in pids.items()}
    found = door.ask("load", order)
    if found.pop("statuses") != {"200": order["requests"]}:
        raise RuntimeError(f"{name}: not all was answered with 200")
    used = {who: cpu_seconds_of(pid) - before[who] for who, pid in pids.items()}
    used["client"] = found.pop("client_cpu_seconds")
    rate = found["requests"] / found["seconds"]
    _say(f"{name}: {rate:.0f} requests/s, p99 {found['p99'] * 1000:.1f} ms (load {os.getloadavg()[0]:.2f})")
    return {**found, "cpu_seconds": used}


def _keyed(cluster: Cluster) -> list[Figures]:
    """A request to each project's REST with that project's own key."""
    query = f"labelSelector={PROJECT_LABEL}&fieldSelector=metadata.name={Context.CREDENTIALS}"
    found = cluster.server.request("GET", f"/api/v1/secrets?{query}")["items"]
    keys = {
        one["metadata"]["labels"][PROJECT_LABEL]: base64.b64decode(one["data"]["anon.key"]).decode() for one in found
    }
    return [{"host": f"{ref}.{DOMAIN}", "path": KEYED_PATH, "headers": {"apikey": key}} for ref, key in keys.items()]


def _opened(refs: Sequence[str]) -> list[Figures]:
    """A request to each project that needs no key."""
    return [{"host": f"{ref}.{DOMAIN}", "path": OPEN_PATH} for ref in refs]


def _resident(door: Door) -> int:
    return resident(door.pids().traefik)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)
