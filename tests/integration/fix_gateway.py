# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Traefik as the engine configures it, on the real API server, in a network of its own.

There are no nodes: Traefik is a process, and pods are servers on addresses of that network, which EndpointSlices name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import (
    Client,
    connect,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.kinds import (
    SERVED_KINDS,
    collection_path,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.certificates import Certificate
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.gateway import (
    keep_gateway,
    owned_definition,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.context import Context
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway import GATEWAY
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.gateway_pods import (
    READY_HOST,
    FrontDoor,
    gateway_namespace_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.routes import ASKED
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import (
    METRICS,
    PORTS,
    POSTGRESQL,
    WEBSECURE,
    Limits,
    traefik_files,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Report
from fix_apiserver import VERBS, ApiServer, Program, grant
from fix_certificates import Authority
from fix_container import in_network_of
from fix_postgresql import Server, Shared
from fix_proxy import Proxy
from fix_served import Served, served

sys.path.insert(0, str(Path(__file__).parents[1]))
from lab import gateway as lab_gateway

T = TypeVar("T")
DOMAIN = "example.test"
PLATFORM = Platform(domain=DOMAIN, images={**IMAGES, "traefik": "traefik", "verifier": "verifier"})
SPACE = gateway_namespace_of(PLATFORM)
LIMITS = Limits(body_bytes=1024**2, header_bytes=16 * 1024, read_seconds=2, idle_seconds=3, drain_seconds=0)
GATEWAY_ADDRESS, PODS, POOLER, CLIENT = "192.0.2.1", "192.0.2.10", "192.0.2.11", "192.0.2.20"
START_SECONDS = 30
KEY, EXPIRED_KEY = "key-of-acme", "expired-key-of-acme"
RULES = [
    {"apiGroups": ["apps"], "resources": ["daemonsets", "deployments"]},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"]},
    {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["*"]},
    {"apiGroups": ["traefik.io"], "resources": ["*"]},
    {"apiGroups": [""], "resources": ["secrets", "services"]},
]
ROUTES = "gateway.networking.k8s.io/v1"


class Echo(http.server.BaseHTTPRequestHandler):
    """A service of a project: says what it was asked, as it came."""

    protocol_version = "HTTP/1.1"
    server: Pod

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(200, {"pod": self.server.name, "path": self.path, "headers": dict(self.headers)})

    do_POST = do_OPTIONS = do_GET  # noqa: N815 (the library's names)

    def answer(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: Any) -> None:
        """The gateway's own log is what is looked at."""


class Verifier(Echo):
    """In few lines what the verifier of keys answers."""

    def do_GET(self) -> None:
        key = self.headers.get("apikey")
        ends = dict(one.split(".") for one in self.path.partition("?key=")[2].split("&key="))
        digest = hashlib.sha256((key or "").encode()).hexdigest()
        if self.headers["X-Forwarded-Method"] == "OPTIONS":
            self.answer(200, {})
        elif key is None:
            self.answer(401, {"message": "No API key found in request"})
        elif digest not in ends:
            self.answer(401, {"message": "Invalid authentication credentials"})
        elif 0 < int(ends[digest]) < time.time():
            self.answer(401, {"message": "API key has expired"})
        else:
            self.answer(200, {}, Authorization=self.headers.get("Authorization") or f"Bearer {key}")


class Pod(http.server.ThreadingHTTPServer):
    """A server that says who it is."""

    name = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a client got, with the body as JSON where it is some."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclasses.dataclass
class Gateway:
    """The running gateway as its clients see it."""

    server: ApiServer
    network: int
    authority: Authority
    certificate: Certificate
    program: Program
    definitions: list[dict[str, Any]]

    def keep(self, *, certificate: Certificate | None = None, check: bool = False, **choices: Any) -> Report:
        """One run of the module's work."""
        given = certificate or self.certificate
        door = FrontDoor(certificate=given.digest, limits=LIMITS, **choices)
        settings = Settings(wait=False, check=check, timeout_seconds=60.0)
        with self.client() as client:
            return keep_gateway(client, PLATFORM, door, given, self.definitions, settings=settings, progress=Silent())

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        settings = Settings()
        kubeconfig = str(self.server.kubeconfig)
        with connect(kubeconfig=kubeconfig, context=None, workers=settings.workers, backoff=settings.backoff) as made:
            yield made

    def inside(self, call: Callable[[], T]) -> T:
        return in_network_of(self.network, call)

    def connection(self, port: int, *, tls_name: str | None = None) -> socket.socket:
        """From the client's address; with TLS for this name, if there is one."""
        made = self.inside(
            lambda: socket.create_connection((GATEWAY_ADDRESS, port), timeout=10, source_address=(CLIENT, 0))
        )
        if tls_name is None:
            return made
        context = ssl.create_default_context(cadata=self.authority.pem)
        return context.wrap_socket(made, server_hostname=tls_name)

    def ask(
        self,
        path: str,
        *,
        host: str = f"acme.{DOMAIN}",
        port: int = PORTS[WEBSECURE],
        method: str = "GET",
        body: Any = None,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own; underscores in names of headers are written as hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.connection(port, tls_name=host if port == PORTS[WEBSECURE] else None) as made:
            connection = http.client.HTTPConnection(host)
            connection.sock = made
            connection.request(method, path, body=body, headers={"Host": host, **sent})
            found = connection.getresponse()
            data = found.read()
        with contextlib.suppress(ValueError):
            data = json.loads(data)
        return Answer(status=found.status, headers={k.lower(): v for k, v in found.getheaders()}, body=data)

    @contextlib.contextmanager
    def session(self, project: Served, authority: Path, **options: Any) -> Iterator[psycopg.Connection[Any]]:
        """A client's session with the database of acme, through the gateway and verified by this file."""
        settings = {
            "host": f"acme.{DOMAIN}",
            "hostaddr": GATEWAY_ADDRESS,
            "port": PORTS[POSTGRESQL],
            "user": project.texts["owner.user"],
            "password": project.texts["owner.password"],
            "dbname": "postgres",
            "sslmode": "verify-full",
            "sslrootcert": str(authority),
            "connect_timeout": 5,
            "autocommit": True,
        }
        made = self.inside(lambda: psycopg.connect(**{**settings, **options}))
        with made:
            yield made

    def apply(self, *objects: dict[str, Any]) -> None:
        """Write objects as somebody would by hand."""
        for one in objects:
            self.server.request(
                "PATCH", path_of(one) + "?fieldManager=test&force=true", one, "application/apply-patch+yaml"
            )

    def delete(self, one: dict[str, Any]) -> None:
        self.server.request("DELETE", path_of(one))

    def log(self) -> str:
        return self.program.log.read_text()

    def await_status(self, status: int, path: str, **rest: Any) -> Answer:
        """The answer once it has this status."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                found = self.ask(path, **rest)
            except OSError as error:
                found = Answer(status=0, headers={}, body=str(error))
            if found.status == status:
                return found
            if time.monotonic() > end or not self.program.is_up():
                pytest.fail(f"{path}: last seen {found}\n{self.log()[-3000:]}")
            time.sleep(0.05)


def path_of(body: dict[str, Any]) -> str:
    version, meta = body["apiVersion"], body["metadata"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    scope = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"{base}{scope}/{body['kind'].lower()}s/{meta['name']}"


def gateway_definitions() -> list[dict[str, Any]]:
    """Those that the role downloads."""
    paths = lab_gateway.definitions().values()
    return [one for path in paths for one in yaml.safe_load_all(path.read_text()) if one is not None]


def owned_definitions() -> list[dict[str, Any]]:
    """The same as the module gateway makes them: an API server serves several test modules."""
    return [owned_definition(PLATFORM, one).body for one in gateway_definitions()]


@pytest.fixture(scope="session")
def gateway_kinds(api_server: ApiServer) -> None:
    """The API server knows the kinds of the gateway, by the definitions that the role brings."""
    for one in owned_definitions():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{one['metadata']['name']}"
        api_server.request("PATCH", f"{path}?fieldManager=test&force=true", one, "application/apply-patch+yaml")
    end = time.monotonic() + START_SECONDS
    for path in map(collection_path, SERVED_KINDS):
        while not is_served(api_server, path):
            assert time.monotonic() < end, f"{path} is not served"
            time.sleep(0.2)


def is_served(api_server: ApiServer, path: str) -> bool:
    """A kind that was just defined, or brought to another definition, is answered with 429 for a moment."""
    try:
        return api_server.exists(path)
    except urllib.error.HTTPError as error:
        if error.code != 429:
            raise
        return False


@pytest.fixture(scope="session")
def gateway(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("gateway")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(_network())
        authority = Authority()
        made = Gateway(
            server=api_server,
            network=network,
            authority=authority,
            certificate=certificate_of(authority),
            program=Program(arguments=[], log=root / "log"),
            definitions=gateway_definitions(),
        )
        grant(api_server, "gateway", [{**rule, "verbs": [*VERBS, "delete"]} for rule in RULES])
        report = made.keep()
        assert report.succeeded, [one.failure for one in report.outcomes]
        give_files(root, made, stack, LIMITS)
        made.program.arguments = [
            # Whatever the machine has of a cluster, this one is the test's.
            *("env", "--unset=KUBECONFIG", "--unset=KUBERNETES_SERVICE_HOST"),
            *("nsenter", f"--net=/proc/{network}/ns/net"),
            *(str(shutil.which("traefik")), f"--configFile={root / 'traefik.yml'}"),
        ]
        _serve(stack, network)
        made.apply(*project("acme"), *project("other"))
        made.program.start()
        stack.callback(lambda: made.program.stop() if made.program.is_up() else None)
        made.await_status(200, "/", host=READY_HOST, port=PORTS[METRICS])
        made.await_status(200, "/auth/v1/health")
        yield made


def certificate_of(authority: Authority) -> Certificate:
    key, chain = authority.issue(f"*.{DOMAIN}")
    return Certificate(chain=chain, key=Secret(key))


@contextlib.contextmanager
def _network() -> Iterator[int]:
    """An empty network with the addresses of this file; the process that holds it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < end, "no network of its own"
            time.sleep(0.01)
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip"]
        subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
        for address in (GATEWAY_ADDRESS, PODS, POOLER, CLIENT):
            subprocess.run([*inside, "addr", "add", f"{address}/32", "dev", "lo"], check=True)
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def give_files(root: Path, made: Gateway, stack: contextlib.ExitStack, limits: Limits) -> None:
    """The rendered files, with what a pod would find at its place: token, authority, and the way to the server."""
    host, port = made.server.url.removeprefix("https://").split(":")
    here = os.getpid()
    proxy = made.inside(lambda: Proxy(lambda: in_network_of(here, lambda: socket.create_connection((host, int(port))))))
    stack.callback(proxy.close)
    account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/traefik/token"
    token = made.server.request("POST", account, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
    files = {name: json.loads(text) for name, text in traefik_files(SPACE, limits).items()}
    for provider in ("kubernetesGateway", "kubernetesCRD"):
        files["traefik.yml"]["providers"][provider]["token"] = token
    files["traefik.yml"]["providers"]["file"]["filename"] = str(root / "dynamic.yml")
    web = files["dynamic.yml"]["http"]
    web["services"]["api"]["loadBalancer"]["servers"] = [{"url": f"https://{host}:{proxy.port}"}]
    web["serversTransports"]["api"]["rootCAs"] = [str(made.server.authority)]
    for name, value in files.items():
        (root / name).write_text(json.dumps(value))
    (root / "token").write_text(token)


def _serve(stack: contextlib.ExitStack, network: int) -> None:
    """Pods of two projects, and the verifier."""
    pods = {("rest", 3000): Echo, ("auth", 9999): Echo, ("verifier", 8080): Verifier}
    for (name, port), handler in pods.items():

        def start(port: int = port, handler: type[Echo] = handler) -> Pod:
            return Pod((PODS, port), handler)

        pod = in_network_of(network, start)
        pod.name = name
        thread = threading.Thread(target=pod.serve_forever, name=name, kwargs={"poll_interval": 0.05})
        thread.start()
        stack.callback(thread.join)
        stack.callback(pod.server_close)
        stack.callback(pod.shutdown)


def project(ref: str) -> list[dict[str, Any]]:
    """What the front door needs of a project, in its namespace."""
    space = f"p-{ref}"
    meta = {"name": space, "labels": {"supalove.cloud/project": ref}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": meta},
        *service(space, "rest", 3000, PODS),
        *service(space, "auth", 9999, PODS),
        *service(space, "pooler", 6432, POOLER),
        middleware(space, "api-key", api_key(KEY if ref == "acme" else "another", EXPIRED_KEY)),
        middleware(space, "limits", {"rateLimit": {"average": 1000, "burst": 1000}}),
        route(space, f"{ref}.{DOMAIN}"),
    ]


def service(space: str, name: str, port: int, address: str) -> list[dict[str, Any]]:
    labels = {"kubernetes.io/service-name": name}
    ports = [{"name": name, "port": port, "protocol": "TCP"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": space},
            "spec": {"ports": [{**ports[0], "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": space, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


def api_key(good: str, expired: str) -> dict[str, Any]:
    digests = [f"{hashlib.sha256(key.encode()).hexdigest()}.{end}" for key, end in ((good, 0), (expired, 1))]
    address = f"http://{PODS}:8080/?{'&'.join(f'key={digest}' for digest in digests)}"
    return {"forwardAuth": {**ASKED, "address": address}}


def middleware(space: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": space}
    return {"apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": meta, "spec": spec}


def extension(name: str) -> dict[str, Any]:
    return {"type": "ExtensionRef", "extensionRef": {"group": "traefik.io", "kind": "Middleware", "name": name}}


def route(space: str, host: str) -> dict[str, Any]:
    """REST for those who have a key, and Auth's health for all."""

    def rule(path: str, backend: str, port: int, *filters: dict[str, Any]) -> dict[str, Any]:
        strip = {
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
        }
        return {
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "filters": [extension("limits"), *filters, strip],
            "backendRefs": [{"name": backend, "port": port}],
        }

    parent = {"name": GATEWAY, "namespace": SPACE, "sectionName": "https"}
    rules = [rule("/rest/v1", "rest", 3000, extension("api-key")), rule("/auth/v1", "auth", 9999)]
    return {
        "apiVersion": ROUTES,
        "kind": "HTTPRoute",
        "metadata": {"name": "project", "namespace": space},
        "spec": {"parentRefs": [parent], "hostnames": [host], "rules": rules},
    }


@pytest.fixture(scope="module")
def pooler(gateway: Gateway, postgresql: Server) -> Iterator[Served]:
    """The pooler of acme as it is rendered, and its route; the gateway's network has its port at the pod's address."""
    with contextlib.ExitStack() as stack:
        way = Proxy(postgresql.connect_inside)
        stack.callback(way.close)
        project = stack.enter_context(served(Shared(server=postgresql, proxy=way, secrets={}), DOMAIN))
        project.start("pooler")
        here, port = os.getpid(), Context.POOLER_PORT

        def connect() -> socket.socket:
            return in_network_of(here, lambda: postgresql.connect_inside(port))

        inner = gateway.inside(lambda: Proxy(connect, address=(POOLER, port)))
        stack.callback(inner.close)
        gateway.apply(project.body("TLSRoute", "sql"), project.body("Service", "pooler"))
        yield project
