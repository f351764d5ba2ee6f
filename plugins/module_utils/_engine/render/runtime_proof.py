# SPDX-License-Identifier: BSD-2-Clause
"""The pod that proves a runtime on a node: it ends by itself, and leaves what its kernel says of itself."""

from __future__ import annotations

from ..objects import Body, Desired
from ..project.model import Platform
from ..project.names import PROOF_LABEL
from .context import CONTAINER_SECURITY, guaranteed
from .platform import proof_class_of
from .probe import passing_pod

CONTAINER = "proof"
# The last line is the kernel's release: of a longer file only the end gets into the pod's status.
PROGRAM = "dmesg > /dev/termination-log 2>&1; uname -r >> /dev/termination-log"


def render_proof(platform: Platform, *, runtime: str, node: str, name: str, image: str, seconds: int) -> Desired:
    """The pod on one node, which need not bear the runtime's label. It ends after `seconds`, come what may."""
    meta = {"name": name, "namespace": platform.namespace, "labels": {PROOF_LABEL: runtime}}
    common = passing_pod(_container(image), node=node, seconds=seconds)
    spec = {**common, "runtimeClassName": proof_class_of(platform, runtime).id.name}
    return Desired(body={"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def _container(image: str) -> Body:
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", PROGRAM],
        "resources": guaranteed(cpu="50m", memory="32Mi"),
        "securityContext": dict(CONTAINER_SECURITY),
    }
