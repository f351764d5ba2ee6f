#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels and taints of live nodes, for all nodes in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_settings
short_description: Keep labels and taints of all nodes
version_added: 0.1.0
description:
  - Waits until every node is Ready, then repairs its labels and taints. A node without a difference costs no request.
  - Labels and taints that were set here before and are no longer asked for are removed. Foreign ones are left alone.
  - Runs on a server, through its own C(kubectl).
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says what would change. Does not wait, and takes nodes that do not exist yet for bare ones.
  diff_mode:
    support: full
    description: Shows the labels and taints that differ, and nothing else.
options:
  nodes:
    description: By node name, what it shall carry.
    type: dict
    required: true
  command:
    description: The kubectl to run, as a list of program and leading arguments.
    type: list
    elements: str
    default: [/usr/local/bin/k3s, kubectl]
  timeout_seconds:
    description: How long nodes may take until they are Ready and settled.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Keep the labels and taints of the nodes
  supalove.platform.node_settings:
    nodes:
      data-1:
        labels:
          node.supalove.cloud/data-plane: "true"
        taints: [node.supalove.cloud/data-plane=true:NoSchedule]
"""

RETURN = r"""
nodes:
  description: The names of the nodes that were, or would be, changed; after an error, those changed before it.
  returned: always
  type: list
  elements: str
"""

import json
import re
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

ANNOTATION = "node.supalove.cloud/managed"
POLL_SECONDS = 2
REQUEST_SECONDS = 30
# The kubelet and the node controllers write to a node too, but not all the time.
PATCH_ATTEMPTS = 5

State = dict[str, dict[str, str]]


class NodeError(Exception):
    """What went wrong, in words for the operator."""


class Conflict(NodeError):
    """Something else wrote to the node after it was read."""


def taints_of(node: dict[str, t.Any]) -> dict[str, str]:
    """Give the taints of a node by ``key:Effect``, in the form that kubectl prints.

    >>> taints_of({"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}})
    {'a:NoSchedule': 'a=b:NoSchedule'}
    """
    found = {}
    for taint in node.get("spec", {}).get("taints") or []:
        value = f"={taint['value']}" if taint.get("value") else ""
        found[f"{taint['key']}:{taint['effect']}"] = f"{taint['key']}{value}:{taint['effect']}"
    return found


def wanted_taints(taints: list[str]) -> dict[str, str]:
    """Give taints by ``key:Effect``.

    >>> wanted_taints(["a=b:NoSchedule", "c:NoExecute"])
    {'a:NoSchedule': 'a=b:NoSchedule', 'c:NoExecute': 'c:NoExecute'}
    """
    return {":".join((re.split("[=:]", taint)[0], taint.rsplit(":", 1)[1])): taint for taint in taints}


def taint_object(taint: str) -> dict[str, str]:
    """Give the API's form of ``key=value:Effect``."""
    rest, effect = taint.rsplit(":", 1)
    key, equals, value = rest.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if equals else {})}


def managed_of(node: dict[str, t.Any]) -> dict[str, list[str]]:
    """Give the keys of labels and taints that an earlier run set; a damaged annotation counts as none."""
    try:
        managed = json.loads(node.get("metadata", {}).get("annotations", {}).get(ANNOTATION, "{}"))
        return {part: [str(key) for key in managed.get(part, [])] for part in ("labels", "taints")}
    except (ValueError, AttributeError, TypeError):
        return {"labels": [], "taints": []}


def compare(node: dict[str, t.Any], asked: dict[str, t.Any]) -> tuple[State, State]:
    """Give what differs, before and after, by part and key.

    1. What is asked and is different or missing shows on both sides.
    2. What an earlier run set and is no longer asked shows only before.
    3. Everything else is not ours and does not show.
    """
    live = {"labels": node.get("metadata", {}).get("labels", {}), "taints": taints_of(node)}
    wanted = {"labels": asked.get("labels") or {}, "taints": wanted_taints(asked.get("taints") or [])}
    managed = managed_of(node)
    before: State = {}
    after: State = {}
    for part in ("labels", "taints"):
        gone = [key for key in managed[part] if key not in wanted[part] and key in live[part]]
        differs = [key for key, value in wanted[part].items() if live[part].get(key) != value]
        before[part] = {key: live[part][key] for key in [*gone, *differs] if key in live[part]}
        after[part] = {key: wanted[part][key] for key in differs}
    return before, after


def annotation_of(asked: dict[str, t.Any]) -> str:
    """Give the note of what this module keeps on a node."""
    managed = {"labels": sorted(asked.get("labels") or {}), "taints": sorted(wanted_taints(asked.get("taints") or []))}
    return json.dumps(managed, sort_keys=True)


def patch_of(node: dict[str, t.Any], asked: dict[str, t.Any], before: State, after: State) -> dict[str, t.Any]:
    """Give the merge patch that brings a node from ``before`` to ``after``; empty if there is nothing to do.

    Taints are one list to the API, so foreign ones are written back, guarded by the resource version.
    """
    metadata: dict[str, t.Any] = {}
    labels = {**dict.fromkeys(before["labels"]), **after["labels"]}
    if labels:
        metadata["labels"] = labels
    if node.get("metadata", {}).get("annotations", {}).get(ANNOTATION) != annotation_of(asked):
        metadata["annotations"] = {ANNOTATION: annotation_of(asked)}
    patch: dict[str, t.Any] = {}
    if before["taints"] or after["taints"]:
        live = node.get("spec", {}).get("taints") or []
        kept = [taint for taint in live if f"{taint['key']}:{taint['effect']}" not in before["taints"]]
        patch["spec"] = {"taints": [*kept, *(taint_object(taint) for taint in after["taints"].values())]}
        metadata["resourceVersion"] = node["metadata"]["resourceVersion"]
    if metadata:
        patch["metadata"] = metadata
    return patch


def readiness(node: dict[str, t.Any] | None) -> str:
    """Give an empty string for a Ready node, else what it lacks."""
    if not node:
        return "has not registered"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            said = condition.get("message") or condition.get("reason") or "is not Ready"
            return "" if condition["status"] == "True" else str(said)
    return "has no Ready condition yet"


def run_kubectl(module: AnsibleModule, *arguments: str) -> str:
    """Run kubectl and give its output."""
    command = [*module.params["command"], *arguments, f"--request-timeout={REQUEST_SECONDS}s"]
    try:
        code, output, error = module.run_command(command, handle_exceptions=False)
    except OSError as missing:
        raise NodeError(f"{command[0]} cannot be run: {missing.strerror}") from missing
    if code:
        said = " ".join((error or output).split())[:500]
        kind = Conflict if "(Conflict)" in said else NodeError
        raise kind(f"kubectl {' '.join(arguments[:3])}: {said}")
    return str(output)


def read_nodes(module: AnsibleModule) -> dict[str, dict[str, t.Any]]:
    """Read all nodes in one request, by name."""
    items = json.loads(run_kubectl(module, "get", "nodes", "--output=json"))["items"]
    return {item["metadata"]["name"]: item for item in items}


def await_ready(module: AnsibleModule, deadline: float) -> dict[str, dict[str, t.Any]]:
    """Read nodes until all asked ones are Ready, or say which are not, and why."""
    while True:
        try:
            live = read_nodes(module)
            lacking = {name: readiness(live.get(name)) for name in module.params["nodes"]}
        except NodeError as error:
            live, lacking = {}, {"API server": str(error)}
        waiting = [f"{name} {reason}" for name, reason in lacking.items() if reason]
        if not waiting:
            return live
        if time.monotonic() >= deadline:
            raise NodeError(
                f"waited {module.params['timeout_seconds']} s for nodes to be Ready; last seen: {'; '.join(waiting)}. "
                "Look at the unit k3s or k3s-agent on those hosts (journalctl --unit), then run again"
            )
        time.sleep(POLL_SECONDS)


def observe(module: AnsibleModule, deadline: float) -> dict[str, dict[str, t.Any]]:
    """Read the nodes; a check on a host without a cluster finds none."""
    if not module.check_mode:
        return await_ready(module, deadline)
    try:
        return read_nodes(module)
    except NodeError:
        return {}


def settle(
    module: AnsibleModule, name: str, node: dict[str, t.Any], asked: dict[str, t.Any], deadline: float
) -> tuple[State, State] | None:
    """Repair one node, or only say what would be; give what differed, or None if nothing did.

    A node that something else has written to in between is read and compared again.
    """
    attempt = 1
    while True:
        before, after = compare(node, asked)
        patch = patch_of(node or {"metadata": {"resourceVersion": ""}}, asked, before, after)
        if not patch:
            return None
        if module.check_mode:
            return before, after
        try:
            run_kubectl(module, "patch", "node", name, "--type=merge", f"--patch={json.dumps(patch)}")
            return before, after
        except Conflict as error:
            if attempt == PATCH_ATTEMPTS or time.monotonic() >= deadline:
                raise NodeError(
                    f"{name} was written to by something else {attempt} times in a row; last seen: {error}. "
                    "Run again; if it stays, look for what writes to that node (kubectl get node --watch)"
                ) from error
            attempt += 1
            node = json.loads(run_kubectl(module, "get", "node", name, "--output=json"))


def ensure(module: AnsibleModule, result: dict[str, t.Any]) -> None:
    """Repair every node that differs; ``result`` tells at any time what was changed so far."""
    deadline = time.monotonic() + module.params["timeout_seconds"]
    live = observe(module, deadline)
    for name, asked in module.params["nodes"].items():
        found = settle(module, name, live.get(name, {}), asked, deadline)
        if found is None:
            continue
        before, after = found
        result["changed"] = True
        result["nodes"].append(name)
        result["diff"]["before"][name] = {part: values for part, values in before.items() if values}
        result["diff"]["after"][name] = {part: values for part, values in after.items() if values}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "dict", "required": True},
            "command": {"type": "list", "elements": "str", "default": ["/usr/local/bin/k3s", "kubectl"]},
            "timeout_seconds": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    result: dict[str, t.Any] = {"changed": False, "nodes": [], "diff": {"before": {}, "after": {}}}
    try:
        ensure(module, result)
    except NodeError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
