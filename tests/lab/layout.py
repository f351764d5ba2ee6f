# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and folders of the lab: the one place where they are chosen."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# Podman chooses its network backend once, by what was installed then; the lab's choice is its own.
os.environ["CONTAINERS_CONF"] = str(Path(__file__).with_name("containers.conf"))

CHECKOUT = Path(__file__).resolve().parent.parent.parent
K3S_VERSION = "v1.36.3+k3s1"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

LABEL = "cloud.supalove.lab"  # on everything podman holds for us; `down` removes what carries it and nothing else
PREFIX = "supalove-lab"
NETWORK = PREFIX
SUBNET = "10.89.77.0/24"
GATEWAY = "10.89.77.1"
MIRROR_ADDRESS = "10.89.77.2"
UNUSED_ADDRESS = "10.89.77.3"  # nobody is there: what a mirror that is down looks like
# A host of its own answers on port 80 of these. They are what tenants must not reach, and lead nowhere else.
OUTSIDE = f"{PREFIX}-outside"
OUTSIDE_GATEWAY = "10.89.77.4"
METADATA_ADDRESS = "169.254.169.254"
OUTSIDE_ADDRESS = "203.0.113.10"  # for documentation (RFC 5737)
BINARIES_ON_HOST = "/opt/lab/binaries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One throwaway host; `pools` are the inventory groups it is in. A `virtual` one has a kernel of its own."""

    name: str
    address: str
    pools: tuple[str, ...]
    virtual: bool = False

    @property
    def container(self) -> str:
        return f"{PREFIX}-{self.name}"


CLUSTER = (
    Host(name="control-1", address="10.89.77.11", pools=("control_plane",)),
    Host(name="data-1", address="10.89.77.21", pools=("data_plane",)),
    Host(name="data-2", address="10.89.77.22", pools=("data_plane",)),
)
TOPOLOGIES = {
    "cluster": CLUSTER,
    # gVisor's shim wants rights that containers here cannot have.
    "gvisor": (
        *CLUSTER,
        Host(name="gvisor-1", address="10.89.77.51", pools=("data_plane", "runtime_gvisor"), virtual=True),
    ),
    "single": (Host(name="single-1", address="10.89.77.31", pools=("control_plane", "data_plane")),),
    # No K3s: the role vault alone.
    "vault": tuple(
        Host(name=f"vault-{number}", address=f"10.89.77.{40 + number}", pools=("vault",)) for number in (1, 2, 3)
    ),
}
# What the hosts of the cluster leave beside their inventory a further host needs as well.
INVENTORIES = dict.fromkeys(("cluster", "gvisor"), CHECKOUT / "inventories/lab/hosts.yml")
# Where the role k3s writes the way into the cluster of that inventory.
KUBECONFIG = INVENTORIES["cluster"].parent / ".kube/supalove.yaml"
# And the role vault what opens the one on these hosts.
VAULT_FILES = tuple(
    KUBECONFIG.with_name(f"vault-{name}") for name in ("keys.json", "operator.json", "engine.json", "ca.pem")
)
# What clients of the gateway trust, made by the role gateway.
GATEWAY_CA = KUBECONFIG.with_name("gateway") / "authority/ca.pem"
# And the role object_store: the administrator's login, and the authority's certificate.
OBJECT_STORE_FILES = tuple(KUBECONFIG.with_name(name) for name in ("object-store.json", "object-store-ca.pem"))


def known() -> tuple[Host, ...]:
    """Every host of every topology, once."""
    return tuple(dict.fromkeys(h for hosts in TOPOLOGIES.values() for h in hosts))


def host(name: str) -> Host:
    """A host by its name; SystemExit tells which there are."""
    named = {h.name: h for h in known()}
    if name not in named:
        raise SystemExit(f"lab: no host {name!r}; there are: {', '.join(sorted(named))}")
    return named[name]


def cache() -> Path:
    """What can be made again, outside the checkout; SUPALOVE_CACHE moves it."""
    return Path(os.environ.get("SUPALOVE_CACHE") or Path.home() / ".cache/supalove")


def state() -> Path:
    """What belongs to the running lab: the key, the mirror's tree, inventories."""
    return cache() / "lab"
