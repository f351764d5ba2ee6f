# SPDX-License-Identifier: GPL-3.0-or-later
"""A node: joining the cluster, then containerd, kubelet, kube-proxy and the network."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import components, contract, network, pki, processes
from .api import Api
from .components import Node
from .images import Importer
from .settings import Refused, Settings, read_token

RETRY_SECONDS = 2
SOCKET_SECONDS = 60
SPOKEN_SECONDS = 20
# systemd writes it where it runs in a container (systemd.io/CONTAINER_INTERFACE), and a virtual machine has none.
CONTAINER_MARK = Path("/run/systemd/container")


def node_name(settings: Settings) -> str:
    return str(settings["node-name"] or socket.gethostname()).lower()


def node_ip(settings: Settings) -> str:
    """The configured address, else that of the default route (docs/cli/agent.md)."""
    if settings["node-ip"]:
        return str(settings["node-ip"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))  # a UDP connect sends nothing; it asks the routing table
        return str(s.getsockname()[0])


def node_password() -> str:
    path = Path(contract.file("node_password"))
    if not path.exists():
        pki.write(path, secrets.token_hex(16).encode())
    return path.read_text()


class Join:
    """A token's way into a cluster: checks the server's CA, then asks as `node` or `server`."""

    def __init__(self, url: str, token: str, user: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._host, self._port = parts.hostname or "", parts.port or 6443
        password = token
        asked_hash = ""
        if token.startswith("K10"):
            asked_hash, _, credentials = token[3:].partition("::")
            _, _, password = credentials.partition(":")
        insecure = ssl.create_default_context()  # as K3s: the CA is fetched first and judged by its hash
        insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
        self.ca = self._get("/cacerts", insecure)
        served = pki.ca_hash(self.ca)
        if asked_hash and asked_hash != served:
            raise Refused(contract.message("token_ca_mismatch", asked=asked_hash, served=served))
        self._tls = ssl.create_default_context(cadata=self.ca.decode())
        self._headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    def _get(self, path: str, tls: ssl.SSLContext, headers: dict[str, str] | None = None) -> bytes:
        connection = http.client.HTTPSConnection(self._host, self._port, context=tls, timeout=10)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 401:
            raise Refused(contract.message("not_authorized", url=self.url + path))
        if answer.status == 403:
            raise Refused(body.decode())
        if answer.status != 200:
            raise OSError(f"{self.url}{path}: {answer.status} {body.decode()[:200]}")
        return body

    def get(self, path: str, **headers: str) -> bytes:
        return self._get(f"/v1-k3s/{path}", self._tls, {**self._headers, **headers})

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("config"))
        return found


def join(settings: Settings, user: str) -> Join:
    """Ask until the server answers; a refusal (wrong token, wrong CA) is repeated in the log as K3s does."""
    token = read_token(settings, "token")
    spoken, last = "", 0.0
    while True:
        try:
            found = Join(settings["server"], token, user)
            found.config()
            return found
        except (OSError, http.client.HTTPException, Refused) as error:
            if isinstance(error, Refused) and user == "server":
                raise
            text = str(error)
            if text != spoken or time.monotonic() - last > SPOKEN_SECONDS:
                processes.log(f"Waiting to retrieve agent configuration; server is not ready: {text}")
                spoken, last = text, time.monotonic()
            time.sleep(RETRY_SECONDS)


def fetch_certificates(found: Join, settings: Settings, folder: Path) -> None:
    """The node's certificates, fetched anew at every start (docs/cli/certificate.md: renewed by restart)."""
    name, ip = node_name(settings), node_ip(settings)
    headers = {"k3s-Node-Name": name, "k3s-Node-Password": node_password(), "k3s-Node-IP": ip}
    pki.write(folder / "server-ca.crt", found.ca, 0o644)
    pki.write(folder / "client-ca.crt", found.get("client-ca.crt"), 0o644)
    for asked in ("client-kubelet.crt", "serving-kubelet.crt", "client-kube-proxy.crt", "client-k3s-controller.crt"):
        crt, marker, key = found.get(asked, **headers).partition(b"-----BEGIN EC PRIVATE KEY-----")
        pki.write((folder / asked).with_suffix(".key"), marker + key)
        pki.write(folder / asked, crt, 0o644)


def node_from(config: dict[str, Any], settings: Settings) -> Node:
    return Node(name=node_name(settings), ip=node_ip(settings), **config["node"])


def run(family: processes.Family, settings: Settings, node: Node, server: str) -> None:
    """Start the node's components; certificates lie in the agent folder already."""
    agent = settings.data_dir / "agent"
    address = contract.file("containerd_socket")
    _write_files(settings, node, server, agent, address)
    family.start("containerd", ["containerd", "--config", str(agent / "etc/containerd/config.toml")])
    family.wait_until("containerd", lambda: _listens(address), SOCKET_SECONDS)
    importer = Importer(agent / "images", agent / "containerd/imported.json", address)
    importer.import_all()
    background(importer.watch)
    network.prepare(node)
    family.start("kubelet", components.kubelet(settings, node, agent))
    family.start("kube-proxy", components.kube_proxy(settings, node, agent))
    api = Api(server, agent / "server-ca.crt", agent / "client-k3s-controller.crt")
    if node.flannel_backend != "none":
        background(network.follow_nodes, api, node, agent / "etc/cni/net.d/10-flannel.conflist")
    if node.network_policy:
        background(network.PolicyEnforcer(api, node.name).run)


def _write_files(settings: Settings, node: Node, server: str, agent: Path, address: str) -> None:
    for folder in ("etc/containerd/config-v3.toml.d", "etc/cni/net.d", "images"):
        (agent / folder).mkdir(parents=True, exist_ok=True)
    if (agent / "etc/containerd/config-v3.toml.tmpl").exists():
        raise Refused("the lab's stand-in does not implement config-v3.toml.tmpl (K3s does); use config-v3.toml.d")
    confined = CONTAINER_MARK.exists()
    toml = components.containerd(agent, settings["pause-image"], settings["snapshotter"], address, confined=confined)
    (agent / "etc/containerd/config.toml").write_text(toml)
    kubelet = components.kubelet_configuration(settings, node, agent, address, confined=confined)
    pki.write(agent / "etc/kubelet.yaml", json.dumps(kubelet, indent=2).encode())
    ca = agent / "server-ca.crt"
    for name, crt in (("kubelet", "client-kubelet"), ("kubeproxy", "client-kube-proxy")):
        config = components.kubeconfig(server, ca, agent / f"{crt}.crt")
        pki.write(agent / f"{name}.kubeconfig", json.dumps(config).encode())


def background(target: Any, *args: Any) -> None:
    """Run beside the main thread, and end with it."""
    threading.Thread(target=target, args=args, daemon=True).start()


def _listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        return s.connect_ex(address) == 0


def main(settings: Settings) -> None:
    """`k3s agent`: join, run the node, stay."""
    family = processes.Family()
    found = join(settings, "node")
    while True:
        try:
            fetch_certificates(found, settings, settings.data_dir / "agent")
            break
        except (OSError, Refused) as error:
            processes.log(f"Waiting to retrieve agent configuration; server is not ready: {error}")
            time.sleep(RETRY_SECONDS)
    run(family, settings, node_from(found.config(), settings), found.url)
    processes.stop_on_signal(family)
    processes.notify("READY=1")
    family.watch()
