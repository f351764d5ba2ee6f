# SPDX-License-Identifier: BSD-2-Clause
"""Probe pods: which there are, what they say, and that none is left."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence

from ...deadline import Backoff, Deadline, retrying
from ...errors import DeadlineExceeded, Unreachable
from ...objects import Body, ObjectId
from ...project.names import PROBE_LABEL
from .client import REQUEST_SECONDS, Client, short
from .delete import remove
from .kinds import collection_path
from .portforward import socket_name, tunnel

POLL_SECONDS = 0.5
ANSWERS = {"open": True, "closed": False}
# It listens a moment after its container has started.
BACKOFF = Backoff(first_seconds=0.3, longest_seconds=2.0, tries=6)
CHUNK = 65536


def read_probes(client: Client, owner: str, *, deadline: Deadline) -> list[Body]:
    """The probes of a platform, whichever run made them."""
    query = {"labelSelector": f"{PROBE_LABEL}={owner}"}
    return client.list(collection_path("Pod"), subject="Pod", deadline=deadline, query=query)


def remove_probes(client: Client, owner: str, *, deadline: Deadline) -> None:
    """Remove every probe and the namespaces made for some. Waits for those that take a project's quota."""
    query = {"labelSelector": f"{PROBE_LABEL}={owner}"}
    spaces = client.list(collection_path("Namespace"), subject="Namespace", deadline=deadline, query=query)
    for space in spaces:
        remove(client, ObjectId(kind="Namespace", name=space["metadata"]["name"]), deadline=deadline)
    asked: set[str] = set()
    while pods := read_probes(client, owner, deadline=deadline):
        for pod in pods:
            meta = pod["metadata"]
            if meta["uid"] not in asked:
                remove(client, ObjectId(kind="Pod", namespace=meta["namespace"], name=meta["name"]), deadline=deadline)
                asked.add(meta["uid"])
        if deadline.remaining() <= POLL_SECONDS:
            raise DeadlineExceeded(f"Still there, although they were deleted: {_named(pods)}. Look at their nodes.")
        time.sleep(POLL_SECONDS)


def _named(pods: Iterable[Body]) -> str:
    return short(", ".join(sorted(f"Pod/{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods)))


def ask(
    client: Client, pod: ObjectId, *, port: int, order: str, answers: int, seconds: float, deadline: Deadline
) -> Sequence[bool]:
    """The probe's answers to an order, which takes it `seconds`. Raises Unreachable if it does not answer."""

    def once() -> Sequence[bool]:
        with tunnel(client, namespace=pod.namespace, pod=pod.name, port=port, deadline=deadline) as way:
            lines: list[str] = []
            error: OSError | None = None
            try:
                lines = _exchange(str(way.directory / socket_name(port)), order, answers, seconds)
            except OSError as raised:
                error = raised
            if len(lines) != answers or not ANSWERS.keys() >= set(lines):
                reason = short(way.trouble or str(error or f"{len(lines)} of {answers} answers came"))
                raise Unreachable(subject=f"{pod} port {port}", verb="ASK", reason=reason) from error
            return [ANSWERS[line] for line in lines]

    return retrying(once, deadline=deadline, backoff=BACKOFF)


def _exchange(path: str, order: str, answers: int, seconds: float) -> list[str]:
    """Lines of the answer. How many there will be is known: the end of a connection does not always get through."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as way:
        way.settimeout(seconds + REQUEST_SECONDS)
        way.connect(path)
        way.sendall(order.encode())
        said = b""
        while said.count(b"\n") < answers:
            data = way.recv(CHUNK)
            if not data:
                break
            said += data
    return said.decode(errors="replace").splitlines()
