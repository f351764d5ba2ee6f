# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines and configuration of the upstream components. Pure: settings in, data out.

Values are those K3s passes (k3s:pkg/daemons/control/server.go and
pkg/daemons/agent/agent_linux.go) but for the lines marked `lab`: the lab's
hosts have cgroup v1, and those that are containers (`confined`) may lack
CAP_SYS_RESOURCE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node is told when it joins."""

    name: str
    ip: str
    cluster_cidr: str
    service_cidr: str
    cluster_dns: str
    cluster_domain: str
    network_policy: bool
    flannel_backend: str


def command(program: str, defaults: Mapping[str, str], overrides: Iterable[str]) -> list[str]:
    """`program` with flags; a user's `key=value` replaces the default of the same key.

    >>> command("kubelet", {"v": "1", "root-dir": "/x"}, ["v=4"])
    ['kubelet', '--root-dir=/x', '--v=4']
    """
    flags = dict(defaults)
    for override in overrides:
        key, _, value = override.lstrip("-").partition("=")
        flags[key] = value or "true"
    return [program, *(f"--{key}={value}" for key, value in sorted(flags.items()))]


def etcd(settings: Settings, name: str, ip: str, tls: Path) -> list[str]:
    flags = {
        "name": name,
        "data-dir": str(settings.data_dir / "server/db/etcd"),
        "listen-client-urls": "https://127.0.0.1:2379",
        "advertise-client-urls": "https://127.0.0.1:2379",
        "listen-peer-urls": f"https://{ip}:2380",
        "initial-advertise-peer-urls": f"https://{ip}:2380",
        "initial-cluster": f"{name}=https://{ip}:2380",
        "client-cert-auth": "true",
        "cert-file": str(tls / "etcd/server-client.crt"),
        "key-file": str(tls / "etcd/server-client.key"),
        "trusted-ca-file": str(tls / "etcd/server-ca.crt"),
        "peer-client-cert-auth": "true",
        "peer-cert-file": str(tls / "etcd/peer-server-client.crt"),
        "peer-key-file": str(tls / "etcd/peer-server-client.key"),
        "peer-trusted-ca-file": str(tls / "etcd/peer-ca.crt"),
        "log-level": "warn",
        "unsafe-no-fsync": "true",  # lab: the disk is shared by all hosts, and a lost machine loses the lab anyway
    }
    return command("etcd", flags, settings["etcd-arg"])


def apiserver(settings: Settings, ip: str, tls: Path, encryption: Path | None) -> list[str]:
    domain = settings["cluster-domain"]
    flags = {
        "advertise-address": settings["advertise-address"] or ip,
        "allow-privileged": "true",
        "anonymous-auth": "false",
        "api-audiences": f"https://kubernetes.default.svc.{domain},k3s",
        "authorization-mode": "Node,RBAC",
        "bind-address": settings["bind-address"],
        "client-ca-file": str(tls / "client-ca.crt"),
        "enable-admission-plugins": "NodeRestriction",
        "enable-aggregator-routing": "true",
        "enable-bootstrap-token-auth": "true",
        "etcd-cafile": str(tls / "etcd/server-ca.crt"),
        "etcd-certfile": str(tls / "etcd/client.crt"),
        "etcd-keyfile": str(tls / "etcd/client.key"),
        "etcd-servers": "https://127.0.0.1:2379",
        "kubelet-certificate-authority": str(tls / "server-ca.crt"),
        "kubelet-client-certificate": str(tls / "client-kube-apiserver.crt"),
        "kubelet-client-key": str(tls / "client-kube-apiserver.key"),
        "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
        "profiling": "false",
        "proxy-client-cert-file": str(tls / "client-auth-proxy.crt"),
        "proxy-client-key-file": str(tls / "client-auth-proxy.key"),
        "requestheader-allowed-names": "system:auth-proxy",
        "requestheader-client-ca-file": str(tls / "request-header-ca.crt"),
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "secure-port": str(settings["https-listen-port"]),
        "service-account-issuer": f"https://kubernetes.default.svc.{domain}",
        "service-account-key-file": str(tls / "service.key"),
        "service-account-signing-key-file": str(tls / "service.key"),
        "service-cluster-ip-range": settings["service-cidr"],
        "service-node-port-range": settings["service-node-port-range"],
        "tls-cert-file": str(tls / "serving-kube-apiserver.crt"),
        "tls-private-key-file": str(tls / "serving-kube-apiserver.key"),
    }
    if encryption:
        flags["encryption-provider-config"] = str(encryption)
    return command("kube-apiserver", flags, settings["kube-apiserver-arg"])


def controller_manager(settings: Settings, tls: Path, kubeconfig: Path) -> list[str]:
    flags = {
        "allocate-node-cidrs": "true",
        "authentication-kubeconfig": str(kubeconfig),
        "authorization-kubeconfig": str(kubeconfig),
        "bind-address": "127.0.0.1",
        "cluster-cidr": settings["cluster-cidr"],
        "cluster-signing-cert-file": str(tls / "client-ca.crt"),
        "cluster-signing-key-file": str(tls / "client-ca.key"),
        "controllers": "*,tokencleaner",
        "kubeconfig": str(kubeconfig),
        "leader-elect": "false",  # lab: one server so far
        "profiling": "false",
        "root-ca-file": str(tls / "server-ca.crt"),
        "service-account-private-key-file": str(tls / "service.key"),
        "service-cluster-ip-range": settings["service-cidr"],
        "use-service-account-credentials": "true",
    }
    return command("kube-controller-manager", flags, settings["kube-controller-manager-arg"])


def scheduler(settings: Settings, kubeconfig: Path) -> list[str]:
    flags = {
        "authentication-kubeconfig": str(kubeconfig),
        "authorization-kubeconfig": str(kubeconfig),
        "bind-address": "127.0.0.1",
        "kubeconfig": str(kubeconfig),
        "leader-elect": "false",  # lab: one server so far
        "profiling": "false",
    }
    return command("kube-scheduler", flags, settings["kube-scheduler-arg"])


def kubelet(settings: Settings, node: Node, agent: Path) -> list[str]:
    flags = {
        "config": str(agent / "etc/kubelet.yaml"),
        "hostname-override": node.name,
        "kubeconfig": str(agent / "kubelet.kubeconfig"),
        "node-ip": node.ip,
        "root-dir": "/var/lib/kubelet",
    }
    if settings["node-label"]:
        flags["node-labels"] = ",".join(settings["node-label"])
    if settings["node-taint"]:
        flags["register-with-taints"] = ",".join(settings["node-taint"])
    return command("kubelet", flags, settings["kubelet-arg"])


def kubelet_configuration(
    settings: Settings, node: Node, agent: Path, socket: str, *, confined: bool
) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "x509": {"clientCAFile": str(agent / "client-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [node.cluster_dns],
        "clusterDomain": node.cluster_domain,
        "containerRuntimeEndpoint": f"unix://{socket}",
        "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
        "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
        "failCgroupV1": False,  # lab
        "failSwapOn": False,
        "featureGates": {"KubeletInUserNamespace": True} if confined else {},  # lab
        "protectKernelDefaults": settings["protect-kernel-defaults"],
        "readOnlyPort": 0,
        "resolvConf": settings["resolv-conf"] or "/etc/resolv.conf",
        "serializeImagePulls": False,
        "tlsCertFile": str(agent / "serving-kubelet.crt"),
        "tlsPrivateKeyFile": str(agent / "serving-kubelet.key"),
    }


def kube_proxy(settings: Settings, node: Node, agent: Path) -> list[str]:
    flags = {
        "cluster-cidr": node.cluster_cidr,
        "conntrack-max-per-core": "0",
        "conntrack-tcp-timeout-close-wait": "0s",
        "conntrack-tcp-timeout-established": "0s",
        "healthz-bind-address": "127.0.0.1:10256",
        "hostname-override": node.name,
        "kubeconfig": str(agent / "kubeproxy.kubeconfig"),
        "metrics-bind-address": "127.0.0.1:10249",
        "proxy-mode": "iptables",
    }
    return command("kube-proxy", flags, settings["kube-proxy-arg"])


def containerd(agent: Path, pause_image: str, snapshotter: str, socket: str, *, confined: bool) -> str:
    """Containerd 2's configuration, with K3s' drop-in directory (k3s PR #13680)."""
    restrict = "true" if confined else "false"
    return f"""\
# Written at every start; put additions into config-v3.toml.d/*.toml.
version = 3
root = "{agent}/containerd"
state = "/run/k3s/containerd"
imports = ["{agent}/etc/containerd/config-v3.toml.d/*.toml"]
[grpc]
  address = "{socket}"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause_image}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {restrict}  # lab
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{agent}/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def kubeconfig(server: str, ca: Path, crt: Path) -> dict[str, Any]:
    """A kubeconfig by file reference, for the components' own use."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [
            {"name": "user", "user": {"client-certificate": str(crt), "client-key": str(crt.with_suffix(".key"))}}
        ],
        "contexts": [{"name": "Default", "context": {"cluster": "local", "user": "user"}}],
        "current-context": "Default",
    }
