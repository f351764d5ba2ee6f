# SPDX-License-Identifier: GPL-3.0-or-later
"""What the identities of the API and of the worker may do: all of it is asked of the API server, and some is tried."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import connect
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.merge import MERGE_PATCH
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import Denied, NotFound
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import RESTRICTED as LABELS
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from test_life import namespaces_that_go, purge_of

OWN = "supalove-system"
RESTRICTED = dict(LABELS)
PLACES = {"own": OWN, "project": "p-anyone", "elsewhere": "kube-system"}
# Those of the API server, and those that only some authorizer or controller knows.
VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
    *("bind", "escalate", "impersonate", "approve", "sign", "use", "*"),
)
EXPECTED = Path(__file__).with_name("verbs.yml")
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def deadline():
    return Deadline(limit_seconds=120)


def kubeconfig_with(server, token, path):
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


@pytest.fixture
def client_of(prepared, tmp_path):
    """A client with the token of a service account, or the administrator's."""
    server, opened = prepared.server, []

    def open_client(name=None):
        token = server.admin_token if name is None else token_of(server, name)
        path = kubeconfig_with(server, token, tmp_path / f"{name}.yml")
        opened.append(connect(kubeconfig=str(path), context=None, workers=8, backoff=Backoff(tries=1)))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def token_of(server, name):
    path = f"/api/v1/namespaces/{OWN}/serviceaccounts/{name}/token"
    return server.request("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]


def resources_of(client):
    """Every resource and subresource that the server serves, as (group, resource, subresource, whether namespaced)."""
    for path in ("/api", "/apis"):
        found = client.get(path, subject="discovery", deadline=deadline(), accept=DISCOVERY)
        for group in found["items"]:
            name = group.get("metadata", {}).get("name", "")
            for one in group["versions"][0]["resources"]:
                namespaced = one["scope"] == "Namespaced"
                yield name, one["resource"], "", namespaced
                for sub in one.get("subresources") or ():
                    yield name, one["resource"], sub["subresource"], namespaced


def await_default_roles(client):
    """The server makes them in the background after its start."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:basic-user"
    limit = deadline()
    while True:
        try:
            client.get(path, subject="roles", deadline=limit)
        except NotFound:
            limit.require("the server's own roles")
            time.sleep(0.1)
        else:
            return


@pytest.mark.usefixtures("gateway_kinds")
@pytest.mark.parametrize("identity", ["supalove-api", "supalove-worker"])
def test_an_identity_may_do_what_the_list_says_and_nothing_else(client_of, identity):
    """Every verb on every resource: in the platform's namespace, in one of a project, in another, and in none."""
    admin = client_of()
    await_default_roles(admin)
    user = f"system:serviceaccount:{OWN}:{identity}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{OWN}", "system:authenticated"]

    def is_allowed(question):
        place, (group, resource, sub, _namespaced), verb, name = question
        what = {"group": group, "resource": resource, "subresource": sub, "verb": verb, "name": name}
        spec = {"user": user, "groups": groups, "resourceAttributes": {**what, "namespace": PLACES.get(place, "")}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = admin.send("POST", REVIEWS, subject="review", deadline=deadline(), body=body)
        return answer.body["status"]["allowed"]

    questions = [
        (place, one, verb, name)
        for one in resources_of(admin)
        for place in (PLACES if one[3] else ("",))
        for verb in VERBS
        for name in (("", "archive", "credentials") if one[1] == "secrets" else ("",))
    ]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(is_allowed, questions))
    found = {}
    for (place, (group, resource, sub, _namespaced), verb, name), allowed in zip(questions, answers, strict=True):
        if allowed:
            what = resource + (f"/{sub}" if sub else "") + (f".{group}" if group else "") + (f" {name}" if name else "")
            found.setdefault(place or "cluster", {}).setdefault(what, []).append(verb)
    assert len(questions) > 2000
    assert found == yaml.safe_load(EXPECTED.read_text())[identity]


def config_map(namespace):
    return "configmaps", namespace, {"kind": "ConfigMap", "metadata": {"name": "try"}}


def secret(namespace, name="try"):
    return "secrets", namespace, {"kind": "Secret", "metadata": {"name": name}}


@pytest.mark.parametrize(
    "write",
    [
        secret("kube-system", "credentials"),
        config_map("default"),
        config_map("s-free-1"),
        config_map(OWN),
        ("serviceaccounts", OWN, {"kind": "ServiceAccount", "metadata": {"name": "try"}}),
    ],
    ids=lambda write: f"{write[0]} in {write[1]}",
)
def test_the_worker_writes_in_namespaces_of_projects_only(prepared, client_of, write):
    plural, namespace, body = write
    if not prepared.server.exists(f"/api/v1/namespaces/{namespace}"):
        prepared.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    with pytest.raises(Denied, match="the worker writes in namespaces of projects only"):
        try_to_create(client_of("supalove-worker"), plural, namespace, body)


def test_the_worker_makes_namespaces_of_projects_only(client_of):
    worker = client_of("supalove-worker")
    with pytest.raises(Denied, match="the worker writes in namespaces of projects only"):
        try_to_create(worker, "namespaces", "", {"kind": "Namespace", "metadata": {"name": "evil"}})
    body = {"kind": "Namespace", "metadata": {"name": "p-good", "labels": RESTRICTED}}
    try_to_create(worker, "namespaces", "", body)


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {**RESTRICTED, "pod-security.kubernetes.io/enforce": "privileged"},
        {**RESTRICTED, "pod-security.kubernetes.io/enforce-version": "v1.0"},
    ],
)
def test_the_worker_cannot_let_pods_of_a_project_be_privileged(prepared, client_of, labels):
    """That would be root on every node."""
    body = {"kind": "Namespace", "metadata": {"name": "p-loose", "labels": labels}}
    with pytest.raises(Denied, match="the worker keeps the pods of a project to the restricted profile"):
        try_to_create(client_of("supalove-worker"), "namespaces", "", body)
    if not prepared.server.exists("/api/v1/namespaces/p-tight"):
        prepared.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "p-tight", "labels": RESTRICTED}})
    change = {"metadata": {"labels": {**dict.fromkeys(RESTRICTED), **labels}}}
    with pytest.raises(Denied, match="the worker keeps the pods of a project to the restricted profile"):
        client_of("supalove-worker").send(
            "PATCH", "/api/v1/namespaces/p-tight", subject="namespace", deadline=deadline(), body=change,
            content=MERGE_PATCH,
        )  # fmt: skip


@pytest.mark.parametrize("namespace", ["kube-system", OWN])
def test_the_worker_forwards_ports_of_projects_and_shared_clusters_only(client_of, namespace):
    """The pod need not be there: who may not is refused before it is looked for."""
    path = f"/api/v1/namespaces/{namespace}/pods/nobody/portforward?ports=1"
    with pytest.raises(Denied, match="the worker writes in namespaces of projects only"):
        client_of("supalove-worker").send("POST", path, subject="pod", deadline=deadline())


@pytest.mark.parametrize("name", ["other", ""])
def test_the_worker_reads_no_secret_but_those_of_the_one_name(client_of, name):
    path = f"/api/v1/namespaces/kube-system/secrets/{name}"
    with pytest.raises(Denied):
        client_of("supalove-worker").get(path, subject="secret", deadline=deadline())


def test_a_project_lives_and_ends_by_the_worker_alone(engine, tmp_path, ref):
    server = engine.server
    kubeconfig = kubeconfig_with(server, token_of(server, "supalove-worker"), tmp_path / "worker.yml")
    worker = dataclasses.replace(engine, server=dataclasses.replace(server, kubeconfig=kubeconfig))
    assert worker.settle({ref: {"tier": "free"}}).succeeded
    assert worker.settle({ref: {"tier": "free", "memory": "512Mi"}}).changed
    assert worker.reconcile({ref: {"tier": "free", "memory": "512Mi"}}, drift=Drift.FULL, wait=True).writes == 0
    uid = worker.record(ref)["status"]["uid"]
    assert worker.settle({ref: {"tier": "free", "state": "absent"}}).succeeded
    with namespaces_that_go(engine):
        assert worker.reconcile({}, **purge_of(ref, uid)).succeeded


def try_to_create(client, plural, namespace, body):
    where = f"/namespaces/{namespace}" if namespace else ""
    path = f"/api/v1{where}/{plural}"
    client.send(
        "POST", path, subject=plural, deadline=deadline(), query={"dryRun": "All"}, body={**body, "apiVersion": "v1"}
    )
