# SPDX-License-Identifier: BSD-2-Clause
"""A runtime besides the nodes' own: its RuntimeClass, and the label of nodes on which its pods were seen to run."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from .backends.kubernetes.apply import apply, create
from .backends.kubernetes.client import Client, short
from .backends.kubernetes.delete import remove
from .backends.kubernetes.kinds import collection_path
from .backends.kubernetes.merge import merge
from .backends.kubernetes.observe import read_object
from .backends.kubernetes.readiness import end_of, trouble_of
from .deadline import Deadline
from .errors import BackendError, DeadlineExceeded
from .objects import Body, Desired, ObjectId
from .observed import NOTHING, Observed
from .planning import plan_all
from .progress import Progress
from .project.model import Platform
from .project.names import PROOF_LABEL, PROVEN_ANNOTATION_PREFIX, runtime_label_of
from .render.platform import proof_class_of, render_home, runtime_class_of
from .render.runtime_proof import render_proof
from .settings import Settings
from .standing import refusal_of, report_of
from .steps import Action, Failure, Report, Step

POLL_SECONDS = 0.5
# From the pod's creation to its end, and none is begun with less. Under a software emulation of a machine it took 40 s.
PROOF_SECONDS = 180.0
# For the end of what is there for a proof, whatever has become of the run.
END_SECONDS = 60.0
_TOKEN_BYTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a node has to show before it counts as one that has a runtime.

    `version`: what was installed; a node that has shown it is not asked again. `expects`: a text that the pod's kernel
    log has. `own_kernel`: the pod's kernel is another one than the node's.
    """

    runtime: str
    version: str
    image: str
    expects: str = ""
    own_kernel: bool = False


def verdict_of(proof: Proof, said: str, node_kernel: str) -> str:
    """Why what a pod left does not prove the runtime; empty if it does. The last line is the kernel's release.

    >>> verdict_of(Proof(runtime="gvisor", version="1", image="", expects="gVisor"), "Starting gVisor...", "6.1")
    ''
    """
    kernel = (said.strip().splitlines() or [""])[-1].strip()
    if proof.expects and proof.expects not in said:
        return f"its kernel log has no {proof.expects!r}, but: {short(said.strip()) or 'nothing'}"
    if proof.own_kernel and kernel in ("", node_kernel):
        return f"its kernel is {kernel or 'unknown'}, and the node's is {node_kernel}: it ran without a sandbox"
    return ""


def keep_runtime(
    client: Client | None,
    platform: Platform,
    proof: Proof,
    *,
    nodes: Sequence[str],
    absent: Sequence[str],
    settings: Settings,
    progress: Progress,
) -> Report:
    """Make the RuntimeClass, and label the nodes that prove it; the report has one outcome. `client`: None, no cluster.

    1. A RuntimeClass of somebody else's is refused, and then nothing is written.
    2. Nodes in `absent` lose the label. Those in neither list are left alone.
    3. A pod on a node shows the runtime, of a RuntimeClass that is there meanwhile and sends pods anywhere: nobody
       else's pod may get to a node before. Then the node gets the label, and with it a note of the version, by which
       the next run knows. One that fails has none, and the others go on.
    4. A node of another version loses the label when its turn comes: what it would start now nobody has seen.

    Repeating any of it is harmless, so it takes no lease. A kill leaves a node that is to be proven without the label.
    """
    deadline = Deadline(limit_seconds=settings.timeout_seconds)
    wanted = (*render_home(platform), runtime_class_of(platform, proof.runtime))
    passing = proof_class_of(platform, proof.runtime)
    observed = NOTHING if client is None else _look(client, (*wanted, passing), deadline)
    plan = plan_all(wanted, observed)
    refused = refusal_of(plan_all((*wanted, passing), observed))
    if client is None or refused is not None:
        return report_of(platform.namespace, client, () if refused else plan.steps, refused)
    live = {one["metadata"]["name"]: one for one in _nodes(client, deadline)}
    unlabelled = tuple(_unlabel(proof, live[name], "it was left out") for name in absent if _has(proof, live.get(name)))
    unproven = [name for name in nodes if not _is_proven(proof, live.get(name))]
    if settings.check:
        labelled = (_label(proof, name, live.get(name, {})) for name in unproven)
        return report_of(platform.namespace, client, (*plan.steps, *unlabelled, *labelled), None)
    work = _Work(client=client, platform=platform, proof=proof, deadline=deadline)
    for step in plan.steps:
        work.then(step, partial(work.apply, step, observed))
    for step in unlabelled:
        work.then(step, partial(work.mark, step, deadline))
    try:
        for step in plan_all((passing,), observed).steps if unproven else ():
            work.then(step, partial(work.apply, step, observed), is_told=False)
        for number, name in enumerate(unproven, start=1):
            progress.note(f"{proof.runtime}: proving it on {name}, {number} of {len(unproven)}")
            step = _label(proof, name, live.get(name, {}))
            work.then(step, partial(work.prove, step, live.get(name)))
    finally:
        if unproven or observed.find(passing.id) is not None:
            work.end(passing.id)
    return report_of(platform.namespace, client, tuple(work.done), work.outcome())


@dataclass(slots=True, kw_only=True)
class _Work:
    """What has been done, the failure that ended it, and what is wrong with nodes, which ends nothing.

    `late`: nodes whose turn came when there was no time left for a proof. They keep what they have.
    """

    client: Client
    platform: Platform
    proof: Proof
    deadline: Deadline
    done: list[Step] = field(default_factory=list)
    failure: Failure | None = None
    wrong: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)

    def then(self, step: Step, what: Callable[[], bool], *, is_told: bool = True) -> None:
        """Go on, unless something has failed; `what` says whether it changed anything that `is_told`."""
        if self.failure is not None:
            return
        try:
            if what() and is_told:
                self.done.append(step)
        except (BackendError, DeadlineExceeded) as error:
            self.failure = Failure.of(step.action, str(step.id), error)

    def outcome(self) -> Failure | None:
        """One failure out of all that went wrong."""
        reasons = [self.failure.reason] if self.failure else []
        if self.wrong:
            told = "; ".join(f"{name}: {reason}" for name, reason in self.wrong.items())
            reasons.append(f"{len(self.wrong)} nodes do not run its pods, and do not bear its label: {told}")
        if self.late:
            reasons.append(
                f"{len(self.late)} nodes were not looked at and are as they were, as a proof needs {PROOF_SECONDS:g} s "
                f"and the limit is {self.deadline.limit_seconds:g} s: {', '.join(self.late)}; run again, "
                "with a longer limit if that is too short"
            )
        if not reasons:
            return None
        first = self.failure or Failure(step="prove", object=f"RuntimeClass/{self.proof.runtime}", reason="")
        return replace(first, reason="; ".join(reasons))

    def apply(self, step: Step, observed: Observed) -> bool:
        return apply(self.client, step, before=observed.find(step.id), deadline=self.deadline).changed

    def mark(self, step: Step, deadline: Deadline) -> bool:
        """Write a node's label and note; None takes one away."""
        meta = {part: step.desired.body["metadata"][part] for part in ("labels", "annotations")}
        merge(self.client, step.id, {"metadata": meta}, deadline=deadline)
        return True

    def end(self, passing: ObjectId) -> None:
        """Remove the class of the proofs' pods, which is of no use to others and does no harm."""
        try:
            remove(self.client, passing, deadline=Deadline(limit_seconds=END_SECONDS))
        except (BackendError, DeadlineExceeded) as error:
            self.failure = self.failure or Failure.of("remove", str(passing), error)

    def prove(self, step: Step, node: Body | None) -> bool:
        """Pod, then label and note at once. A label of before the pod goes first."""
        name = step.id.name
        if node is None:
            self.wrong[name] = "there is no such node; run the playbook cluster.yml first"
            return False
        if self.deadline.remaining() < PROOF_SECONDS:
            self.late.append(name)
            return False
        if _has(self.proof, node):
            gone = _unlabel(self.proof, node, f"until {self.proof.runtime} {self.proof.version} is proven on it")
            self.mark(gone, self.deadline)
            self.done.append(gone)
        try:
            reason = self._run(name, node["status"]["nodeInfo"]["kernelVersion"])
        except (BackendError, DeadlineExceeded) as error:
            reason = str(error)
        if reason:
            self.wrong[name] = reason
            return False
        return self.mark(step, Deadline(limit_seconds=END_SECONDS))

    def _run(self, node: str, kernel: str) -> str:
        """A pod on the node from its beginning to its end; why it proves nothing, or an empty text."""
        proof, seconds = self.proof, min(PROOF_SECONDS, self.deadline.remaining())
        for left in _proofs(self.client, self.platform, proof, node, self.deadline):
            remove(self.client, left, deadline=self.deadline)
        name = f"runtime-{proof.runtime}-{secrets.token_hex(_TOKEN_BYTES)}"
        pod = render_proof(
            self.platform, runtime=proof.runtime, node=node, name=name, image=proof.image, seconds=math.ceil(seconds)
        )
        try:
            create(self.client, pod, deadline=self.deadline)
            said = _await_end(self.client, pod.id, seconds, self.deadline)
        finally:
            remove(self.client, pod.id, deadline=Deadline(limit_seconds=END_SECONDS))
        return verdict_of(proof, said, kernel)


def _await_end(client: Client, id: ObjectId, seconds: float, deadline: Deadline) -> str:
    """What the pod has left. Raises DeadlineExceeded with what keeps it, or why it failed."""
    until = time.monotonic() + seconds
    while True:
        live = read_object(client, id, deadline=deadline)
        pod = {} if live is None or live.body is None else live.body
        phase = (pod.get("status") or {}).get("phase")
        if phase == "Succeeded":
            return _left_by(pod)
        late = time.monotonic() >= until
        if live is None or phase == "Failed" or late:
            why = end_of(pod) or trouble_of(pod) or ("it is gone" if live is None else "it did not start")
            told = _warning(client, id, deadline)
            raise DeadlineExceeded(f"the pod did not end well within {seconds:.0f} s: {short('; '.join([why, *told]))}")
        time.sleep(POLL_SECONDS)


def _left_by(pod: Body) -> str:
    (status,) = pod["status"]["containerStatuses"]
    return str(status["state"]["terminated"].get("message") or "")


def _warning(client: Client, pod: ObjectId, deadline: Deadline) -> list[str]:
    """The last warning about a pod. Of a sandbox that does not come into being its status says nothing."""
    query = {"fieldSelector": f"involvedObject.name={pod.name},type=Warning"}
    path = collection_path("Event", pod.namespace)
    events = client.list(path, subject=f"Event/{pod.namespace}", deadline=deadline, query=query)
    return [str(event.get("message", "")) for event in events][-1:]


def _proofs(client: Client, platform: Platform, proof: Proof, node: str, deadline: Deadline) -> Iterator[ObjectId]:
    """Pods on a node that killed runs have left."""
    query = {"labelSelector": f"{PROOF_LABEL}={proof.runtime}", "fieldSelector": f"spec.nodeName={node}"}
    path = collection_path("Pod", platform.namespace)
    for pod in client.list(path, subject=f"Pod/{platform.namespace}", deadline=deadline, query=query):
        yield ObjectId(kind="Pod", namespace=platform.namespace, name=pod["metadata"]["name"])


def _look(client: Client, wanted: Sequence[Desired], deadline: Deadline) -> Observed:
    found = (read_object(client, one.id, deadline=deadline) for one in wanted)
    return Observed(objects={live.id: live for live in found if live is not None})


def _nodes(client: Client, deadline: Deadline) -> list[Body]:
    return client.list(collection_path("Node"), subject="Node", deadline=deadline, query={})


def _has(proof: Proof, node: Body | None) -> bool:
    return node is not None and (node["metadata"].get("labels") or {}).get(runtime_label_of(proof.runtime)) == "true"


def _is_proven(proof: Proof, node: Body | None) -> bool:
    notes: Mapping[str, str] = (node or {}).get("metadata", {}).get("annotations") or {}
    return _has(proof, node) and notes.get(f"{PROVEN_ANNOTATION_PREFIX}{proof.runtime}") == proof.version


def _label(proof: Proof, name: str, node: Body) -> Step:
    return _marked(proof, name, node, "true", proof.version, f"{proof.runtime} {proof.version} is proven on it")


def _unlabel(proof: Proof, node: Body, reason: str) -> Step:
    return _marked(proof, node["metadata"]["name"], node, None, None, reason)


def _marked(proof: Proof, name: str, node: Body, label: str | None, version: str | None, reason: str) -> Step:
    """A change of a node's marks; its bodies have nothing but these."""
    keys = {"labels": runtime_label_of(proof.runtime), "annotations": f"{PROVEN_ANNOTATION_PREFIX}{proof.runtime}"}
    now = node.get("metadata", {})
    before = {part: {key: (now.get(part) or {}).get(key)} for part, key in keys.items()}
    after = {"labels": {keys["labels"]: label}, "annotations": {keys["annotations"]: version}}
    head = {"apiVersion": "v1", "kind": "Node"}
    return Step(
        action=Action.UPDATE,
        id=ObjectId(kind="Node", name=name),
        reason=reason,
        desired=Desired(body={**head, "metadata": {"name": name, **after}}),
        before={**head, "metadata": {"name": name, **before}},
    )
