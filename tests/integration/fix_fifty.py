# SPDX-License-Identifier: GPL-3.0-or-later
"""A platform of fifty projects, and its state in a form in which two such platforms can be compared."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    PROJECT_KINDS,
    collection_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import (
    CREDENTIALS_ANNOTATION,
    PLATFORM_LABEL,
    PROJECT_LABEL,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Report
from fix_engine import TIERS, Engine
from standin_databases import MemoryDatabases
from standin_files import FileDatabases

WITH_SHARED = {**TIERS, "shared": {"placement": "shared", "storage": "500Mi"}}
CLUSTER = {"cpu": 1, "memory": "1Gi", "storage": "20Gi"}
# Of metadata what says nothing of the project. Digests contain the uid; a run with drift full proves them right.
PASSING = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "annotations")
DEDICATED, SHARED = 10, 40


@dataclasses.dataclass(frozen=True)
class Fifty:
    """Ten projects with a PostgreSQL of their own and forty on two shared clusters, all named after a word."""

    engine: Engine
    word: str
    directory: Path

    @property
    def projects(self) -> dict[str, Any]:
        dedicated = {f"{self.word}-d{number}": {"tier": "free"} for number in range(DEDICATED)}
        return dedicated | {f"{self.word}-s{number}": {"tier": "shared"} for number in range(SHARED)}

    @property
    def platform(self) -> dict[str, Any]:
        clusters = {f"{self.word}-{name}": CLUSTER for name in ("one", "two")}
        return {"namespace": self.engine.namespace, "shared_clusters": clusters}

    def databases(self) -> FileDatabases:
        return FileDatabases(self.directory)

    def reconcile(self, databases: MemoryDatabases | None = None, **settings: Any) -> Report:
        """One run that waits, with what an earlier one has left."""
        engine = dataclasses.replace(self.engine, databases=databases or self.databases())
        with engine.ready_workloads(*self.projects):
            return engine.reconcile(
                self.projects,
                tiers=WITH_SHARED,
                platform=self.platform,
                **{"wait": True, "timeout_seconds": 120.0, **settings},
            )

    def state(self) -> dict[str, Any]:
        """Every object, role and database by name, without what differs between two platforms that are alike.

        Which of two clusters a project got is such a difference: new ones go to the emptier of them at the time.
        """
        records = self._records()
        uids = {record["status"]["uid"]: record["metadata"]["name"] for record in records}
        objects = [*records, *self._objects(), *self.databases().bodies.values()]
        found = {f"{one['kind']} {one['metadata']['name']} of {_owner(one, uids)}": one for one in objects}
        assert len(found) == len(objects)
        text = json.dumps({name: self._kept(one, objects) for name, one in found.items()})
        for uid, ref in uids.items():
            text = text.replace(uid, f"<uid of {ref}>")
        text = re.sub(f"{self.word}-(one|two)", "<cluster>", text).replace(self.word, "<word>")
        placements = Counter(record["status"]["placement"] for record in records)
        return {**json.loads(text), "projects in each place": sorted(placements.values())}

    def assert_certain(self) -> None:
        """What is there is as rendered, field by field, and every database is on the cluster that its record says."""
        check = self.reconcile(check=True, drift=Drift.FULL)
        assert (check.changed, check.succeeded) == (False, True), check
        places = {record["status"]["uid"]: record["status"]["placement"] for record in self._records()}
        for id in self.databases().bodies:
            assert _owner_of(id.name, places) == f"shared/{id.namespace}"

    def _records(self) -> list[Any]:
        path = collection_path("SupaloveProject", self.engine.namespace)
        return [{**one, "kind": "SupaloveProject"} for one in self.engine.server.request("GET", path)["items"]]

    def _objects(self) -> list[Any]:
        query = urlencode({"labelSelector": f"{PROJECT_LABEL} in ({','.join(self.projects)})"})
        lists = {kind: self.engine.server.request("GET", f"{collection_path(kind)}?{query}") for kind in PROJECT_KINDS}
        return [{**one, "kind": kind} for kind, found in lists.items() for one in found["items"]]

    @staticmethod
    def _kept(one: Any, objects: list[Any]) -> Any:
        meta = {key: value for key, value in one["metadata"].items() if key not in PASSING}
        rest = {key: value for key, value in one.items() if key not in ("metadata", "status", "data")}
        if one["kind"] == "SupaloveProject":
            rest["status"] = _kept_status(one["status"])
        if one["kind"] == "Secret":
            rest["data"] = sorted(one["data"])
        if one["kind"] == "ConfigMap":
            rest["data"] = one["data"]
        if one["kind"] in ("StatefulSet", "Deployment"):
            secret = _the(objects, "Secret", meta["namespace"])["metadata"]["uid"]
            annotations = one["spec"]["template"]["metadata"].pop("annotations")
            assert annotations[CREDENTIALS_ANNOTATION] == secret
        if one["kind"] == "DatabaseRole":
            rest["spec"] = {key: value for key, value in one["spec"].items() if key != "verifier"}
        if one["kind"] == "Service":
            rest["spec"] = {key: value for key, value in one["spec"].items() if not key.startswith("clusterIP")}
        return {"metadata": meta, **rest}


def _kept_status(status: Any) -> Any:
    """The record without times, and of what it certifies only the names; a digest of inputs contains the uid."""
    conditions = [
        {key: value for key, value in one.items() if key != "lastTransitionTime"} for one in status["conditions"]
    ]
    status = {key: value for key, value in status.items() if key != "inputs"}
    return {**status, "conditions": conditions, "stamps": sorted(json.loads(status["stamps"]))}


def _owner(one: Any, uids: dict[str, str]) -> str:
    labels = one["metadata"].get("labels")
    return str(labels[PROJECT_LABEL]) if labels else _owner_of(one["metadata"]["name"], uids)


def _owner_of(name: str, by_uid: dict[str, str]) -> str:
    (found,) = [value for uid, value in by_uid.items() if uid in name]
    return found


def _the(objects: list[Any], kind: str, namespace: str) -> Any:
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"].get("namespace") == namespace]
    return found


def a_platform_of_fifty(engine: Engine, word: str, directory: Path) -> Fifty:
    """Nothing of it is there yet but the namespace of its records."""
    namespace = f"of-{word}"
    meta = {"name": namespace, "labels": {PLATFORM_LABEL: namespace}}
    engine.server.request("POST", "/api/v1/namespaces", {"metadata": meta})
    directory.mkdir()
    return Fifty(engine=dataclasses.replace(engine, namespace=namespace), word=word, directory=directory)


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A platform that one run brought up; its first report, its state."""

    fifty: Fifty
    first: Report
    state: dict[str, Any]


@pytest.fixture(scope="session")
def undisturbed(prepared: Engine, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    fifty = a_platform_of_fifty(prepared, "calm", tmp_path_factory.mktemp("calm") / "databases")
    first = fifty.reconcile()
    assert first.succeeded, first
    return Undisturbed(fifty=fifty, first=first, state=fifty.state())
