# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's gateway as the engine configures it, its verifier, and what both are measured with and against.

All of them are processes in one network, which has every address that a pod may have.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.supalove.platform.plugins.module_utils._engine.gateway import keep_gateway
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway_pods import (
    READY_HOST,
    VERIFIER,
    FrontDoor,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.services import AUTH_PORT, REST_PORT
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import (
    METRICS,
    PORTS,
    WEBSECURE,
    Limits,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from fix_apiserver import VERBS, Program, grant
from fix_certificates import Authority
from fix_container import container, image_of, podman
from fix_gateway import (
    CLIENT,
    DOMAIN,
    GATEWAY_ADDRESS,
    PLATFORM,
    RULES,
    SPACE,
    Gateway,
    certificate_of,
    gateway_definitions,
    give_files,
)

from tests.lab import binaries

from . import processes
from .cluster import Cluster, Figures

# Where kwok takes its pods' addresses from, with room.
POD_NETWORK, A_POD = "10.0.0.0/8", "10.0.0.1"
LIMITS = Limits()
BARE_PORT = 9443
LONGEST_SECONDS = 900
# The share of a processor below which Traefik has nothing to do.
QUIET = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Pids:
    """Processes whose cost is told."""

    traefik: int
    bare: int
    verifier: int
    upstream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The gateway of a cluster, a Traefik beside it that has one route, and what answers in place of all pods."""

    gateway: Gateway
    root: Path
    bare: Program
    upstream: Program
    verifier: int

    @property
    def authority(self) -> Path:
        return self.root / "authority.pem"

    def pids(self) -> Pids:
        traefik, bare, upstream = (_pid(one) for one in (self.gateway.program, self.bare, self.upstream))
        return Pids(traefik=traefik, bare=bare, verifier=self.verifier, upstream=upstream)

    def ask(self, verb: str, order: Figures) -> Figures:
        """What `asker` (tests/lab/go) found out, from within the network."""
        with self.asking(verb, order) as figures:
            pass
        return figures

    @contextlib.contextmanager
    def asking(self, verb: str, order: Figures) -> Iterator[Figures]:
        """The same beside something else; the figures are there at the end. Raises RuntimeError."""
        file = self.root / "order.json"
        file.write_text(json.dumps(order))
        argv = [*_inside(self.gateway.network), _asker(), verb, str(file)]
        figures: Figures = {}
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            try:
                yield figures
            except BaseException:
                child.kill()
                raise
            said, wrong = child.communicate()
        if child.returncode:
            raise RuntimeError(f"asker {verb}: {wrong}")
        figures.update(json.loads(said))

    def await_quiet(self) -> float:
        """Seconds until Traefik has nothing more to do."""
        began = time.monotonic()
        while self.busy(1) > QUIET:
            if time.monotonic() - began > LONGEST_SECONDS:
                raise RuntimeError("Traefik does not come to rest")
        return time.monotonic() - began

    def busy(self, seconds: float) -> float:
        """The share of a processor that Traefik takes while nobody asks."""
        pid = self.pids().traefik
        before = processes.cpu_seconds_of(pid)
        time.sleep(seconds)
        return (processes.cpu_seconds_of(pid) - before) / seconds

    def start(self) -> None:
        """Start Traefik and wait until it has read its routes."""
        self.gateway.program.start()
        self.gateway.await_status(200, "/", host=READY_HOST, port=PORTS[METRICS])


@contextlib.contextmanager
def opened(cluster: Cluster) -> Iterator[Door]:
    """With the gateway's definitions and objects on the cluster; ended with the context."""
    root = cluster.root / "gateway"
    root.mkdir()
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(_network(root))
        authority = Authority()
        (root / "authority.pem").write_text(authority.pem)
        gateway = Gateway(
            server=cluster.server,
            network=network,
            authority=authority,
            certificate=certificate_of(authority),
            program=Program(arguments=[], log=root / "traefik.log"),
            definitions=gateway_definitions(),
        )
        grant(cluster.server, "gateway", [{**rule, "verbs": [*VERBS, "delete"]} for rule in RULES])
        _keep(gateway)
        give_files(root, gateway, stack, LIMITS)
        gateway.program.arguments = _traefik(network, root / "traefik.yml")
        bare = Program(arguments=_traefik(network, _bare_files(root, gateway)), log=root / "bare.log")
        addresses = [f"0.0.0.0:{port}" for port in (REST_PORT, AUTH_PORT)]
        served = [*_inside(network), _asker(), "serve", *addresses]
        upstream = Program(arguments=served, log=root / "upstream.log")
        verifier = container(stack, image_of("verifier"), network=f"ns:/proc/{network}/ns/net")
        pid = int(podman("inspect", "--format", "{{.State.Pid}}", verifier))
        door = Door(gateway=gateway, root=root, bare=bare, upstream=upstream, verifier=pid)
        for one in (upstream, bare, gateway.program):
            stack.callback(_end, one)
        upstream.start()
        bare.start()
        door.start()
        yield door


def order_of(door: Door, targets: Sequence[Figures], port: int = PORTS[WEBSECURE], **more: Any) -> Figures:
    """What `asker` is told: these requests in turn, with TLS, one by one until they are answered with 200."""
    common = {"address": f"{GATEWAY_ADDRESS}:{port}", "ca": str(door.authority), "targets": targets}
    return {**common, "status": 200, "seconds": LONGEST_SECONDS, **more}


def _keep(gateway: Gateway) -> None:
    door = FrontDoor(certificate=gateway.certificate.digest, limits=LIMITS)
    with gateway.client() as client:
        report = keep_gateway(
            client,
            PLATFORM,
            door,
            gateway.certificate,
            gateway.definitions,
            settings=Settings(wait=False),
            progress=Silent(),
        )
    if not report.succeeded:
        raise RuntimeError(f"the gateway could not be made: {report.outcomes}")


@contextlib.contextmanager
def _network(root: Path) -> Iterator[int]:
    """A network in which every pod's address is this machine's, and names are those of `hosts`; who holds it."""
    holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
    try:
        end = time.monotonic() + 10
        own = Path("/proc/self/ns/mnt").readlink()
        while Path(f"/proc/{holder.pid}/ns/mnt").readlink() == own:
            if time.monotonic() > end:
                raise RuntimeError("no network of its own")
            time.sleep(0.01)
        # There is no DNS.
        service = f"{VERIFIER}.{SPACE}.svc.{PLATFORM.cluster_domain}"
        (root / "hosts").write_text(f"127.0.0.1 localhost {service}\n")
        for words in (
            ("mount", "--bind", str(root / "hosts"), "/etc/hosts"),
            ("ip", "link", "set", "lo", "up"),
            *(("ip", "addr", "add", f"{one}/32", "dev", "lo") for one in (GATEWAY_ADDRESS, CLIENT)),
            ("ip", "route", "add", "local", POD_NETWORK, "dev", "lo"),
        ):
            subprocess.run([*_inside(holder.pid), *words], check=True)
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def _inside(network: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{network}/ns/net", f"--mount=/proc/{network}/ns/mnt"]


def _traefik(network: int, file: Path) -> list[str]:
    """Whatever the machine has of a cluster, it is not looked at."""
    alone = ["env", "--unset=KUBECONFIG", "--unset=KUBERNETES_SERVICE_HOST"]
    return [*alone, *_inside(network), str(shutil.which("traefik")), f"--configFile={file}"]


def _bare_files(root: Path, gateway: Gateway) -> Path:
    """Of a Traefik as its own defaults have it, with TLS and one route."""
    (root / "chain.pem").write_text(gateway.certificate.chain)
    (root / "key.pem").write_text(gateway.certificate.key.reveal())
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {WEBSECURE: {"address": f":{BARE_PORT}"}},
        "providers": {"file": {"filename": str(root / "bare-dynamic.yml"), "watch": False}},
    }
    route = {"rule": f"HostRegexp(`.+[.]{DOMAIN}`)", "service": "one", "tls": {}}
    servers = [{"url": f"http://{A_POD}:{REST_PORT}"}]
    dynamic = {
        "http": {"routers": {"one": route}, "services": {"one": {"loadBalancer": {"servers": servers}}}},
        "tls": {"certificates": [{"certFile": str(root / "chain.pem"), "keyFile": str(root / "key.pem")}]},
    }
    (root / "bare-dynamic.yml").write_text(json.dumps(dynamic))
    file = root / "bare.yml"
    file.write_text(json.dumps(static))
    return file


def _asker() -> str:
    return str(binaries.ensure(binaries.target("asker")) / "asker")


def _end(program: Program) -> None:
    if program.is_up():
        program.stop()


def _pid(program: Program) -> int:
    if program.process is None:
        raise RuntimeError(f"{program.arguments} does not run")
    return program.process.pid
