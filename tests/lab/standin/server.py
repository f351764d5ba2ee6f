# SPDX-License-Identifier: GPL-3.0-or-later
"""A server: datastore, control plane, supervisor, and a node of its own."""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import yaml

from . import agent, components, contract, deploy, pki, processes, supervisor
from .api import Api, ApiError
from .settings import Refused, Settings, read_token

SUPERVISOR_SOCKET = Path("/run/k3s/supervisor.sock")
READY_SECONDS = 180
ETCD_SECONDS = 60
LOCAL_STORAGE = "/var/lib/rancher/k3s/storage"


def main(settings: Settings) -> None:
    """`k3s server`: start everything in order, stay."""
    if settings["server"]:
        _refuse_to_join(settings)
    family = processes.Family()
    control = Control(settings)
    control.write_files()
    control.start(family)
    control.start_node(family)
    processes.stop_on_signal(family)
    processes.notify("READY=1")
    family.watch()


def _refuse_to_join(settings: Settings) -> None:
    """A further server: the critical settings are compared as K3s does, joining itself is not built."""
    theirs = agent.join(settings, "server").config()["critical"]
    if theirs != settings.critical():
        raise Refused(contract.message("critical_mismatch"))
    raise Refused("the lab's stand-in does not implement joining further servers (K3s does)")


class Control:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = agent.node_name(settings)
        self.ip = agent.node_ip(settings)
        self.home = settings.data_dir / "server"
        self.tls = self.home / "tls"
        self.url = f"https://127.0.0.1:{settings['https-listen-port']}"

    # -- files ---------------------------------------------------------------------

    def write_files(self) -> None:
        tls = self.tls
        tls.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.server_ca = pki.Authority(tls / "server-ca.crt", "k3s-server-ca")
        self.client_ca = pki.Authority(tls / "client-ca.crt", "k3s-client-ca")
        header_ca = pki.Authority(tls / "request-header-ca.crt", "k3s-request-header-ca")
        pki.ensure_service_key(tls / "service.key")
        client = self.client_ca.ensure
        admin = client(tls / "client-admin.crt", "system:admin", ["system:masters"])
        client(tls / "client-kube-apiserver.crt", "system:apiserver", ["system:masters"])
        manager = client(tls / "client-controller.crt", "system:kube-controller-manager")
        scheduler = client(tls / "client-scheduler.crt", "system:kube-scheduler")
        header_ca.ensure(tls / "client-auth-proxy.crt", "system:auth-proxy")
        self.server_ca.ensure(tls / "serving-kube-apiserver.crt", "kube-apiserver", sans=self._sans())
        self._write_etcd_certificates()
        for name, crt in (("admin", admin), ("controller", manager), ("scheduler", scheduler)):
            config = components.kubeconfig(self.url, self.server_ca.crt, crt)
            pki.write(self._kubeconfig(name), json.dumps(config).encode())
        self._write_user_kubeconfig(admin)
        self._write_tokens()

    def _write_etcd_certificates(self) -> None:
        etcd = pki.Authority(self.tls / "etcd/server-ca.crt", "etcd-server-ca")
        peer = pki.Authority(self.tls / "etcd/peer-ca.crt", "etcd-peer-ca")
        names = [self.name, self.ip, "127.0.0.1", "localhost"]
        etcd.ensure(self.tls / "etcd/server-client.crt", "etcd-server", sans=names)
        etcd.ensure(self.tls / "etcd/client.crt", "etcd-client")
        peer.ensure(self.tls / "etcd/peer-server-client.crt", "etcd-peer", sans=names)

    def _kubeconfig(self, name: str) -> Path:
        return self.home / f"cred/{name}.kubeconfig"

    def _sans(self) -> list[str]:
        first = ipaddress.ip_network(self.settings["service-cidr"]).network_address + 1
        domain = self.settings["cluster-domain"]
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"]
        local = ["localhost", "127.0.0.1", self.name, self.ip, str(first)]
        return [*local, *service, *self.settings["tls-san"]]

    def _write_user_kubeconfig(self, admin: Path) -> None:
        """/etc/rancher/k3s/k3s.yaml: everything inline, everything named `default` (docs/cluster-access.md)."""

        def encoded(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        cluster = {"certificate-authority-data": encoded(self.server_ca.crt), "server": self.url}
        user = {"client-certificate-data": encoded(admin), "client-key-data": encoded(admin.with_suffix(".key"))}
        config = {
            "apiVersion": "v1",
            "clusters": [{"cluster": cluster, "name": "default"}],
            "contexts": [{"context": {"cluster": "default", "user": "default"}, "name": "default"}],
            "current-context": "default",
            "kind": "Config",
            "users": [{"name": "default", "user": user}],
        }
        mode = int(self.settings["write-kubeconfig-mode"], 8)
        pki.write(Path(self.settings["write-kubeconfig"]), yaml.safe_dump(config).encode(), mode)

    def _write_tokens(self) -> None:
        """server/token, node-token, agent-token in the secure form (docs/cli/token.md)."""
        given = read_token(self.settings, "token")
        path = self.home / "token"
        founded = (self.home / "db/etcd/member").exists()
        kept = path.read_text().strip().rpartition(":")[2] if path.exists() else ""
        if not founded and not self.settings["cluster-init"]:
            raise Refused("the lab's stand-in implements no SQLite, which K3s uses without cluster-init")
        if given.startswith("K10") and not founded:
            raise Refused(contract.message("token_full_on_first_server"))
        password = given.rpartition(":")[2] or kept or secrets.token_hex(16)
        if founded and kept and password != kept:
            raise Refused(contract.message("token_changed"))
        agent_password = read_token(self.settings, "agent-token").rpartition(":")[2] or password
        prefix = f"K10{pki.ca_hash(self.server_ca.crt.read_bytes())}::"
        self.passwords = {"server": password, "node": agent_password}
        pki.write(path, f"{prefix}server:{password}\n".encode())
        link = self.home / "node-token"
        if not link.is_symlink():
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        user = "server" if agent_password == password else "node"
        pki.write(self.home / "agent-token", f"{prefix}{user}:{agent_password}\n".encode())

    def _encryption(self) -> Path | None:
        """The encryption configuration, made once; the key is never replaced here."""
        if not self.settings["secrets-encryption"]:
            return None
        path = self.home / "cred/encryption-config.json"
        if not path.exists():
            key = {
                "name": f"{self.settings['secrets-encryption-provider']}key",
                "secret": base64.b64encode(secrets.token_bytes(32)).decode(),
            }
            providers = [{self.settings["secrets-encryption-provider"]: {"keys": [key]}}, {"identity": {}}]
            config = {
                "kind": "EncryptionConfiguration",
                "apiVersion": "apiserver.config.k8s.io/v1",
                "resources": [{"resources": ["secrets"], "providers": providers}],
            }
            pki.write(path, json.dumps(config).encode())
        return path

    # -- processes -----------------------------------------------------------------

    def start(self, family: processes.Family) -> None:
        settings, tls = self.settings, self.tls
        family.start("etcd", components.etcd(settings, self.name, self.ip, tls))
        family.wait_until("etcd", lambda: _accepts("127.0.0.1", 2379), ETCD_SECONDS)
        self.admin = Api(self.url, self.server_ca.crt, tls / "client-admin.crt")
        supervisor.serve(self._cluster(), SUPERVISOR_SOCKET)
        (self.home / "logs").mkdir(mode=0o700, exist_ok=True)
        argv = components.apiserver(settings, self.ip, tls, self._encryption())
        family.start("kube-apiserver", argv, {"SUPERVISOR_SOCKET": str(SUPERVISOR_SOCKET)})
        family.wait_until("kube-apiserver to be ready", self._is_ready, READY_SECONDS)
        family.start(
            "kube-controller-manager", components.controller_manager(settings, tls, self._kubeconfig("controller"))
        )
        family.start("kube-scheduler", components.scheduler(settings, self._kubeconfig("scheduler")))
        values = {
            "CLUSTER_DNS": settings["cluster-dns"],
            "CLUSTER_DOMAIN": settings["cluster-domain"],
            "LOCAL_STORAGE": settings["default-local-storage-path"] or LOCAL_STORAGE,
        }
        deployer = deploy.Deployer(self.home / "manifests", self._kubeconfig("admin"))
        deployer.remove(deploy.write_bundled(self.home / "manifests", settings["disable"], values))
        agent.background(deployer.watch)

    def _is_ready(self) -> bool:
        try:
            return bool(self.admin.request("GET", "/readyz") == "ok")
        except (OSError, ApiError):
            return False

    def _cluster(self) -> supervisor.Cluster:
        return supervisor.Cluster(
            server_ca=self.server_ca,
            client_ca=self.client_ca,
            passwords=self.passwords,
            config={"critical": self.settings.critical(), "node": self._node_config()},
            admin=self.admin,
        )

    def _node_config(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "cluster_cidr": settings["cluster-cidr"],
            "service_cidr": settings["service-cidr"],
            "cluster_dns": settings["cluster-dns"],
            "cluster_domain": settings["cluster-domain"],
            "network_policy": not settings["disable-network-policy"],
            "flannel_backend": settings["flannel-backend"],
        }

    def start_node(self, family: processes.Family) -> None:
        found = agent.Join(self.url, self.passwords["node"], "node")
        agent.fetch_certificates(found, self.settings, self.settings.data_dir / "agent")
        agent.run(family, self.settings, agent.node_from(found.config(), self.settings), self.url)
        agent.background(self._label_own_node)

    def _label_own_node(self) -> None:
        labels = {"node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/etcd": "true"}
        while True:
            try:
                body = {"metadata": {"labels": labels}}
                self.admin.request("PATCH", f"/api/v1/nodes/{self.name}", body, "application/merge-patch+json")
                return
            except (OSError, ApiError):
                time.sleep(1)


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((host, port)) == 0
