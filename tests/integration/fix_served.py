# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's pooler and services as their pods have them, in the network of the shared cluster they go to.

Their containers are made out of what is rendered: image, command, environment, and of ConfigMaps and the Secret what
the pod mounts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.generation import new_texts
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired, SecretKey
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid, new_uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import Context
from fix_container import container, image_of, logs, podman
from fix_postgresql import CLUSTER, Shared
from fix_services import Reply, service_image

REF = "acme"
DOMAIN = "supalove.example.com"
SECONDS = 60
STAND_INS = ("gotrue", "postgrest")


@dataclasses.dataclass
class Served:
    """One project on the shared cluster. `texts`: its Secret. `running`: containers by their names in pods."""

    shared: Shared
    uid: Uid
    texts: Mapping[str, str]
    objects: tuple[Desired, ...]
    directory: Path
    stack: contextlib.ExitStack
    running: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def database(self) -> str:
        return f"p_{self.uid}"

    def body(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [one.body for one in self.objects if (one.id.kind, one.id.name) == (kind, name)]
        return found

    def pod(self, deployment: str) -> dict[str, Any]:
        return dict(self.body("Deployment", deployment)["spec"]["template"]["spec"])

    def start(self, deployment: str) -> str:
        """The pod of a Deployment: its first containers one after the other to their ends, then its own."""
        pod = self.pod(deployment)
        for one in pod.get("initContainers", []):
            id = self._run(deployment, one)
            assert podman("wait", id) == "0", logs(id)
        (main,) = pod["containers"]
        self.running[deployment] = self._run(deployment, main)
        return self.running[deployment]

    def first_of(self, deployment: str) -> str:
        """The container that comes before all others in the pod."""
        return self._run(deployment, self.pod(deployment)["initContainers"][0])

    def stop(self, deployment: str) -> None:
        podman("stop", "--time", "5", self.running.pop(deployment))

    def await_(self, is_so: Callable[[], object], what: str) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if is_so():
                    return
            time.sleep(0.2)
        pytest.fail(f"{what}: " + "\n".join(logs(id)[-2000:] for id in self.running.values()))

    def ask(self, port: int, verb: str, path: str, body: Any = None, *, token: str = "") -> Reply:
        """What a service answers, in the network of its pod."""
        connection = http.client.HTTPConnection("pod", port, timeout=30)
        connection.sock = self.shared.server.connect_inside(port)
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        with contextlib.closing(connection):
            connection.request(verb, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        return Reply(status=answer.status, headers=dict(answer.headers), body=json.loads(text) if text else None)

    def _run(self, deployment: str, spec: Mapping[str, Any]) -> str:
        pod = self.pod(deployment)
        volumes = {one["name"]: self._volume(deployment, one) for one in pod["volumes"]}
        user = pod["securityContext"]["runAsUser"]
        name = spec["image"].rpartition("/")[2].partition(":")[0]
        flags = ["--user", f"{user}:{user}"]
        for mount in spec["volumeMounts"]:
            flags += ["--volume", f"{volumes[mount['name']]}:{mount['mountPath']}"]
        flags += ["--volume", f"{self.directory}/hosts:/etc/hosts:ro"]
        for one in spec.get("env", []):
            flags += ["--env", f"{one['name']}={one['value']}"]
        command, arguments = list(spec.get("command", [])), list(spec.get("args", []))
        entry = ["--entrypoint", command[0]] if command else []
        image = service_image(name) if name in STAND_INS else image_of(name)
        network = f"container:{self.shared.server.id}"
        return container(self.stack, *flags, *entry, image, *command[1:], *arguments, network=network)

    def _volume(self, deployment: str, volume: Mapping[str, Any]) -> str:
        """A folder with what the volume has, which everybody may read and, if it is the pod's own, write."""
        folder = self.directory / deployment / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        if "configMap" in volume:
            files: Mapping[str, str] = self.body("ConfigMap", volume["configMap"]["name"])["data"]
        elif "secret" in volume:
            files = {one["path"]: self.texts[one["key"]] for one in volume["secret"]["items"]}
        else:
            files = {}
        for name, text in files.items():
            (folder / name).write_text(text)
        return str(folder)


def served_objects(uid: Uid, secret_uid: str, domain: str = DOMAIN) -> tuple[Desired, ...]:
    """What is rendered for the project."""
    platform = {
        "domain": domain,
        "gateway_kind": "gateway",
        "shared_clusters": {CLUSTER.name: {"cpu": 1, "memory": "512Mi", "storage": "2Gi"}},
    }
    tiers = {"free": {"placement": "shared", "storage": "64Mi"}}
    found = parse(projects={REF: {"tier": "free"}}, tiers=tiers, platform=platform)
    return render(found.projects[0], found.platform, Placement(cluster=CLUSTER.name), uid, secret_uid)


@contextlib.contextmanager
def served(shared: Shared, domain: str = DOMAIN) -> Iterator[Served]:
    """Its roles and its database are brought to the cluster; nothing runs yet."""
    uid = new_uid()
    objects = served_objects(uid, "made", domain)
    (secret,) = [one for one in objects if one.id.kind == "Secret"]
    texts = new_texts(secret.generates, secrets.token_bytes)
    for key, text in texts.items():
        name = SecretKey(namespace=secret.id.namespace, secret=Context.CREDENTIALS, key=key)
        shared.secrets[name] = Secret(text)
    shared.bring(tuple(one for one in objects if one.id.kind in ("DatabaseRole", "Database")))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-test-")))
        directory.chmod(0o755)
        server = f"postgresql.s-{CLUSTER.name}.svc.cluster.local"
        (directory / "hosts").write_text(f"127.0.0.1 localhost pooler {server}\n")
        os.chmod(directory / "hosts", 0o644)
        yield Served(shared=shared, uid=uid, texts=texts, objects=objects, directory=directory, stack=stack)
