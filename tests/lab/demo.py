# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: from nothing to a running tenant, and what came of it as a table."""

from __future__ import annotations

import http
import json
import time

from . import archiver, cluster, front, layout, playbook, vault
from .playbook import Run, table

NODE_LABELS = {"control plane": "node.supalove.cloud/control-plane", "data plane": "node.supalove.cloud/data-plane"}


def show(found: cluster.Cluster, converge: Run, hosts_seconds: float) -> str:
    """Nodes, projects, how to connect, and how long each stage took."""
    stages = [("stage", "seconds"), ("hosts, images, mirror", f"{hosts_seconds:.0f}")]
    stages += [(name, f"{seconds:.0f}") for name, seconds in converge.plays if seconds >= 1]
    stages.append(("all", f"{hosts_seconds + converge.seconds():.0f}"))
    return "\n\n".join((table(_nodes(found)), table(_projects(found)), table(stages), CONNECT))


def _nodes(found: cluster.Cluster) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("node", "pools", "address", "ready", "version")]
    for node in found.objects("nodes"):
        labels = node["metadata"]["labels"]
        pools = ", ".join(name for name, label in NODE_LABELS.items() if labels.get(label) == "true")
        address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        ready = next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
        rows.append((node["metadata"]["name"], pools, address, ready, node["status"]["nodeInfo"]["kubeletVersion"]))
    return rows


def _projects(found: cluster.Cluster) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("project", "tier", "placement", "phase", "secrets in Vault", "a row through the pooler", "endpoint")
    ]
    kept = _kept()
    for record in found.objects("supaloveprojects", "-A"):
        name, status = record["metadata"]["name"], record.get("status", {})
        endpoint = "{host}:{port}/{database}".format_map(status["endpoints"]) if "endpoints" in status else ""
        row = _row(found, name) if status.get("phase") == "Ready" else ""
        secrets = kept.get(status.get("uid", ""), "none")
        placement, phase = status.get("placement", ""), status.get("phase", "")
        rows.append((name, record["spec"]["tier"], placement, phase, secrets, row, endpoint))
    return rows


def _kept() -> dict[str, str]:
    """The paths of projects' secrets in the lab's Vault, by the projects' uids."""
    engine = vault.of_host("control-1").login(vault.ENGINE)
    listed = engine.ask("LIST", "supalove/metadata/database").body
    engine.ask("POST", "auth/token/revoke-self")
    return {uid: f"supalove/database/{uid}" for uid in listed["data"]["keys"]}


ROW = """
CREATE TABLE IF NOT EXISTS demo (id int PRIMARY KEY, text text);
INSERT INTO demo VALUES (1, :'text') ON CONFLICT (id) DO UPDATE SET text = excluded.text;
SELECT text FROM demo;
"""


def _row(found: cluster.Cluster, project: str) -> str:
    """What a client in the project's namespace reads of the row that it has just written."""
    found.start_client(f"p-{project}")
    asked = found.psql(f"p-{project}", f"\\set text 'hello from {project}'\n{ROW}")
    return asked.stdout.strip() or asked.stderr.strip()


def visit(found: cluster.Cluster, project: str) -> tuple[str, ...]:
    """A row is written over REST, with the key and without, and read by SQL."""
    where = front.site(found, project)
    row = {"id": 2, "text": f"a row for {project} over REST"}
    refused = where.ask("/rest/v1/demo", row, key="").status
    if where.ask("/rest/v1/demo?id=eq.2", verb="DELETE").status == http.HTTPStatus.NOT_FOUND:
        front.tell_of_new_tables(found, project)
    written = where.ask("/rest/v1/demo", row).status
    read = found.psql(f"p-{project}", "SELECT text FROM demo WHERE id = 2;").stdout.strip()
    return (where.url, str(refused), str(written), read)


def keys(found: cluster.Cluster) -> str:
    """The anonymous keys, which stand in web pages anyway, and a line to try one."""
    sites = {project: front.site(found, project) for project in RESTORED}
    lines = [f"{project}'s key:\n  {where.key}" for project, where in sites.items()]
    first, *_others = sites.values()
    tried = first.curl("/rest/v1/demo", "--header 'apikey: <key>'")
    return "\n".join((*lines, f"\nTry one, or none:\n  {tried}"))


# A project with a PostgreSQL of its own, and one on a shared cluster: where each one's archiver is.
RESTORED = {"demo": "p-demo", "notes": "s-free-1"}
READ = "SELECT text FROM precious;"


def restore(found: cluster.Cluster, project: str) -> tuple[str, ...]:
    """A table is written, dropped, and brought back with all that was there a second before. Once for each platform."""
    namespace, server = f"p-{project}", RESTORED[project]
    if found.psql(namespace, "SELECT to_regclass('precious');").stdout.strip():
        return (project, "", "restored by an earlier demo", "", "", found.psql(namespace, READ).stdout.strip())
    archiver.await_backup(found, server)
    found.psql(namespace, "CREATE TABLE precious (text text); INSERT INTO precious VALUES ('a row to keep');")
    moment = found.psql(namespace, "SELECT clock_timestamp();").stdout.strip().replace(" ", "T")
    found.psql(namespace, "SELECT pg_sleep(1); DROP TABLE precious;")
    archiver.await_archived(found, server)
    choice = json.dumps({"supalove_restore_ref": project, "supalove_restore_time": moment})
    done = playbook.run("restore", layout.INVENTORIES["cluster"], "-e", choice)
    answer = found.psql(namespace, READ) if done.code == 0 else None
    back = done.output[-2000:] if answer is None else answer.stdout.strip() or answer.stderr.strip()
    return (project, "a row to keep", "DROP TABLE", moment, f"{done.seconds():.0f}", back)


CONNECT = """\
Look around:
  tests/lab/lab psql demo                 psql in the project `demo`, through its PgBouncer
  tests/lab/lab kubectl get pods -A
  tests/lab/lab ssh control-1
Again, changing nothing:  make demo
Remove every trace:       make demo-down"""


def run(hosts_began: float) -> int:
    """Converge the lab's cluster with site.yml in full view, then print the tables."""
    hosts_seconds = time.monotonic() - hosts_began
    converge = playbook.run("site", layout.INVENTORIES["cluster"], show=True)
    if converge.code:
        return converge.code
    found = cluster.of_lab()
    print(f"\n{show(found, converge, hosts_seconds)}")
    print("\nA mistake is made, and undone:")
    head = ("project", "written", "then", "restored to", "seconds", "read back")
    print(f"\n{table([head, *(restore(found, project) for project in RESTORED)])}")
    print("\nThrough the front door:")
    visits: list[tuple[str, ...]] = [("URL", "POST without the key", "with the key", "read by SQL")]
    visits += [visit(found, project) for project in RESTORED]
    print(f"\n{table(visits)}\n\n{keys(found)}")
    return 0
