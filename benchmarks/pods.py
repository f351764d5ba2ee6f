# SPDX-License-Identifier: GPL-3.0-or-later
"""Real pods, on the lab: one new project from main() to the first SQL through its pooler, and what happened when.

The clock is the time of day: the lab's hosts are containers of this machine, so that all programs read the same one.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    Watch,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    collection_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    COMPONENT_LABEL,
    Ref,
    namespace_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import Context

from tests.lab import hosts, layout
from tests.lab.cluster import CLIENT, Cluster, of_lab

from .cluster import Figures, engine

LAB = str(layout.CHECKOUT / "tests/lab/lab")
INVENTORY = layout.INVENTORIES["cluster"].parent / "group_vars/all/projects.yml"
# Of the lab's demo.
TIERS = ("free", "pro")
LONGEST_SECONDS = 240.0
# The lab's usual client would be throttled while it starts psql.
CLIENT_CPU = "400m"
ASKING = "asking\n"
ASK = f"until echo {ASKING.strip()}; psql -qAtXc 'SELECT 1'; do sleep 0.05; done"
# By what the engine says as it goes; the last of such lines counts.
STAGES = {"looked": "reading the state of ", "written": "projects applied: ", "seen ready": "workloads ready: "}
COMPONENTS = {Context.POSTGRESQL: "database", Context.POOLER: "pooler"}


def is_lab_up() -> bool:
    """True if any host of the lab runs."""
    return "running" in hosts.running().values()


@contextlib.contextmanager
def demo() -> Iterator[Cluster]:
    """The lab with its demo, as it is; if it is not there, it is brought up and in the end taken down."""
    was_up = is_lab_up()
    try:
        if not _is_cluster_there():
            subprocess.run([LAB, "demo"], check=True)
        yield of_lab()
    finally:
        if not was_up:
            subprocess.run([LAB, "down"], check=True)


def _is_cluster_there() -> bool:
    states = hosts.running()
    up = all(states.get(host.container) == "running" for host in layout.TOPOLOGIES["cluster"])
    return up and layout.KUBECONFIG.exists()


class Moments:
    """When what was first seen, and how often the client has asked; for several threads."""

    def __init__(self) -> None:
        self.tries = 0
        self._seen: dict[str, float] = {}
        self._news = threading.Condition()

    def note(self, what: str) -> None:
        """It is there now, unless it was before."""
        with self._news:
            self._seen.setdefault(what, time.time())
            self._news.notify_all()

    def require(self, what: str) -> None:
        """Wait until it is there. Raises TimeoutError."""
        with self._news:
            if not self._news.wait_for(lambda: what in self._seen, LONGEST_SECONDS):
                raise TimeoutError(f"{what}: not seen in {LONGEST_SECONDS:g} s; seen: {', '.join(self._seen)}")

    def since(self, began: float) -> dict[str, float]:
        """Seconds from then to each."""
        with self._news:
            return {what: when - began for what, when in self._seen.items()}


def first_sql(lab: Cluster, ref: str, tier: str) -> Figures:
    """One round: the project is new and all that there is to do, among those of the lab's demo; then it is purged."""
    wanted = yaml.safe_load(INVENTORY.read_text())
    # One of a round that was interrupted would not be new.
    _purge(lab, wanted, ref, tier)
    try:
        with _observed(lab, namespace_of(Ref(ref))) as moments:
            found = _engine(wanted, {ref: {"tier": tier}})
        seen = moments.since(found["began"])
    finally:
        _purge(lab, wanted, ref, tier)
    for name, words in STAGES.items():
        seen[name] = max(seconds for seconds, text in found["stages"] if text.startswith(words))
    seen["main() returned"] = found["seconds"]
    costs = {key: found[key] for key in ("import_seconds", "sql_seconds")}
    return {"seconds": seen["first SQL"], "moments": seen, "tries": moments.tries, **costs}


def _engine(wanted: dict[str, Any], projects: dict[str, Any], **settings: Any) -> Figures:
    inventory = {key: wanted[f"supalove_{key}"] for key in ("tiers", "platform", "projects")}
    inventory["projects"] = {**inventory["projects"], **projects}
    way = {"kubeconfig": str(layout.KUBECONFIG), "databases": None}
    with TemporaryDirectory(prefix="supalove-bench-") as folder:
        return engine({**way, **inventory, "settings": settings}, Path(folder))


def _purge(lab: Cluster, wanted: dict[str, Any], ref: str, tier: str) -> None:
    """Leave nothing but the volume, which stays as every project's does."""
    for record in lab.objects("supaloveprojects", "-A"):
        if record["metadata"]["name"] == ref:
            stopped = {ref: {"tier": tier, "state": "absent"}}
            uid = record.get("status", {}).get("uid", "")
            _engine(wanted, stopped, purge={ref: uid}, purge_without_final_backup=[ref])


@contextlib.contextmanager
def _observed(lab: Cluster, namespace: str) -> Iterator[Moments]:
    """While a project comes to be: note what its pods do, start a client as soon as there is a password, let it ask.

    Ends when the client has its answer.
    """
    moments = Moments()
    limit = Deadline(limit_seconds=LONGEST_SECONDS)
    api = connect(kubeconfig=str(layout.KUBECONFIG), context=None, workers=2, backoff=Backoff())
    with api, ThreadPoolExecutor(max_workers=3) as pool:
        watches = [
            api.watch(collection_path(kind, namespace), subject=kind, query={}, deadline=limit)
            for kind in ("Secret", "Pod")
        ]
        noting = [pool.submit(_note_all, watch, moments) for watch in watches]
        asking = pool.submit(_ask, lab, namespace, moments)
        try:
            yield moments
            asking.result()
        finally:
            for watch in watches:
                watch.shut()
        for one in noting:
            one.result()


def _note_all(watch: Watch, moments: Moments) -> None:
    for event in watch.events():
        if event["type"] in ("ADDED", "MODIFIED"):
            for what in _said(event["object"]):
                moments.note(what)


def _said(thing: dict[str, Any]) -> Iterator[str]:
    """What is true of a Secret or a pod, in our words."""
    name, labels = thing["metadata"]["name"], thing["metadata"].get("labels", {})
    if thing["kind"] == "Secret":
        yield name
        return
    part = "client" if name == CLIENT else COMPONENTS.get(labels.get(COMPONENT_LABEL), name)
    status = thing["status"]
    conditions = {one["type"] for one in status.get("conditions", ()) if one["status"] == "True"}
    containers = status.get("containerStatuses", ())
    yield f"{part} created"
    if "PodScheduled" in conditions:
        yield f"{part} scheduled"
    if containers and all("running" in one["state"] for one in containers):
        yield f"{part} started"
    if "Ready" in conditions:
        yield f"{part} ready"


def _ask(lab: Cluster, namespace: str, moments: Moments) -> None:
    """A client in the project's namespace, whose own start is over, if it can be, before there is anybody to ask."""
    moments.require(Context.CREDENTIALS)
    lab.start_client(namespace, cpu=CLIENT_CPU)
    # The Service is older than the pod. A name that is asked for too early DNS would remember to be none.
    moments.require("pooler created")
    limited = ["timeout", f"{LONGEST_SECONDS:g}", "sh", "-c", ASK]
    argv = lab.command("exec", "-n", namespace, CLIENT, "--", *limited)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdout is not None
        for line in client.stdout:
            moments.note("client asks" if line == ASKING else "first SQL")
            moments.tries += line == ASKING
    if client.returncode:
        raise RuntimeError(f"the client in {namespace} ended with {client.returncode} and no answer")
