# SPDX-License-Identifier: GPL-3.0-or-later
"""Disasters on the lab's hosts, each dealt with as docs/runbooks.md says, by the commands that are printed there."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path

import pytest
from lab import hosts, inventory, layout, object_store, playbook, runbook, vault
from lab.archiver import await_, await_archived, await_backup, status
from lab.cluster import Cluster
from lab.object_store import BUCKET

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("platform")]

SERVER = layout.host("control-1")
KUBE = layout.KUBECONFIG.parent
PROJECTS = {"demo": {"tier": "pro"}, "notes": {"tier": "free"}, "shop": {"tier": "free"}}
ROWS = "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept;"


def with_projects(**more: dict[str, str]) -> str:
    """The option for a command that gives the inventory these projects, too."""
    return f"-e '{json.dumps({'supalove_projects': {**PROJECTS, **more}})}'"


def written(found: Cluster, project: str, server: str) -> str:
    """Two rows are there; returns a moment after them that the archive of the project's server reaches."""
    namespace = f"p-{project}"
    found.start_client(namespace)
    made = found.psql(
        namespace, "DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);"
    )
    assert made.returncode == 0, made.stderr
    moment = found.psql(namespace, "SELECT clock_timestamp();").stdout.strip().replace(" ", "T")
    await_archived(found, server)
    return moment


def rows(found: Cluster, project: str) -> str:
    found.start_client(f"p-{project}")
    answer = found.psql(f"p-{project}", ROWS)
    return answer.stdout.strip() or answer.stderr.strip()


def uids(found: Cluster) -> dict[str, str]:
    return {one["metadata"]["name"]: one["status"]["uid"] for one in found.objects("slp", "-A")}


def is_unchanged(lab: Path, name: str = "projects") -> None:
    again = playbook.run(name, lab)
    assert again.code == 0, again.output[-3000:]
    assert not again.changes


@pytest.mark.parametrize("ref", ["acme", "blog"])
def test_1_a_lost_table_comes_back_in_place_and_in_a_project_beside(platform: Cluster, ref: str) -> None:
    project = runbook.NAMES[ref]
    server = {"demo": "p-demo", "notes": "s-free-1"}[project]
    await_backup(platform, server)
    moment = written(platform, project, server)
    platform.psql(f"p-{project}", "SELECT pg_sleep(1); DROP TABLE kept;")
    await_archived(platform, server)
    (check,) = runbook.commands(1)
    names = {"=acme": f"={project}", runbook.MOMENT: moment}
    incarnation = status(platform, server)["incarnation"]
    assert incarnation in runbook.run(check, names)
    beside = check.replace(" --check", "").replace("=acme", "=lookup -e supalove_restore_source_ref=acme")
    runbook.run(
        "ansible-playbook -i inventories/production playbooks/projects.yml", more=with_projects(lookup={"tier": "free"})
    )
    runbook.run(beside, {"source_ref=acme": f"source_ref={project}", **names}, with_projects(lookup={"tier": "free"}))
    assert rows(platform, "lookup") == "1,2"
    assert status(platform, server)["incarnation"] == incarnation
    runbook.run(check.replace(" --check", ""), names)
    assert rows(platform, project) == "1,2"
    gone = {"supalove_projects": {**PROJECTS, "lookup": {"tier": "free", "state": "absent"}}}
    assert playbook.run("projects", layout.INVENTORIES["cluster"], "-e", json.dumps(gone)).code == 0
    gone["supalove_purge"] = {"lookup": uids(platform)["lookup"]}
    purged = playbook.run("projects", layout.INVENTORIES["cluster"], "-e", json.dumps(gone))
    assert purged.code == 0, purged.output[-3000:]


def test_3_an_object_store_that_has_lost_its_data_is_made_anew_and_filled(platform: Cluster, lab: Path) -> None:
    before = {server: status(platform, server)["incarnation"] for server in ("p-demo", "s-free-1")}
    hosts.run_on(SERVER, "systemctl stop seaweedfs seaweedfs-s3.socket; find /var/lib/seaweedfs -mindepth 1 -delete")
    for name in ("object_store", "projects"):
        done = playbook.run(name, lab)
        assert done.code == 0, done.output[-3000:]
    (backup,) = runbook.commands(3)
    runbook.run(backup)
    for server in before:
        await_backup(platform, server)
    moment = written(platform, "demo", "p-demo")
    drill = playbook.run(
        "drill", lab, "-e", json.dumps({"supalove_drill_clusters": ["free-1"], "supalove_drill_refs": ["demo"]})
    )
    assert drill.code == 0, drill.output[-3000:]
    platform.psql("p-demo", "DROP TABLE kept;")
    (check,) = runbook.commands(1)
    runbook.run(check.replace(" --check", ""), {runbook.MOMENT: moment})
    assert rows(platform, "demo") == "1,2"


def test_4_a_vault_that_is_lost_is_founded_anew_and_takes_over_what_is_in_use(platform: Cluster, lab: Path) -> None:
    in_use = platform.secret("p-demo", "credentials")["owner.password"]
    hosts.run_on(SERVER, vault.FORGET)
    for path in layout.VAULT_FILES:
        path.unlink()
    done = playbook.run("site", lab)
    assert done.code == 0, done.output[-3000:]
    assert platform.secret("p-demo", "credentials")["owner.password"] == in_use
    engine = vault.of_host("control-1").login(vault.ENGINE)
    kept = engine.ask("GET", f"supalove/data/database/{uids(platform)['demo']}").body["data"]["data"]
    engine.ask("POST", "auth/token/revoke-self")
    assert in_use in kept.values()
    is_unchanged(lab)


def test_4_an_archive_whose_key_is_lost_begins_anew_with_another(platform: Cluster) -> None:
    before = status(platform, "p-demo")["incarnation"]
    archive = status(platform, "p-demo")["archive"]
    engine = vault.of_host("control-1").login(vault.ENGINE)
    assert engine.ask("DELETE", f"supalove/metadata/archive/{archive}").status == 204
    engine.ask("POST", "auth/token/revoke-self")
    platform.kubectl("delete", "secret", "-n", "p-demo", "archive")
    (another,) = runbook.commands(4)
    runbook.run(another)
    await_(lambda: status(platform, "p-demo").get("incarnation", before) != before, "no other incarnation was begun")
    await_backup(platform, "p-demo")
    moment = written(platform, "demo", "p-demo")
    platform.psql("p-demo", "DROP TABLE kept;")
    await_archived(platform, "p-demo")
    (check,) = runbook.commands(1)
    runbook.run(check.replace(" --check", ""), {runbook.MOMENT: moment})
    assert rows(platform, "demo") == "1,2"


def test_5_what_a_full_volume_is_looked_at_with_works(platform: Cluster, lab: Path) -> None:
    databases, *_ = runbook.commands(5)
    assert f"p_{uids(platform)['notes']}" in runbook.run(databases)
    pro = {"placement": "dedicated", "cpu": "250m", "memory": "256Mi", "storage": "2Gi", "priority": 1000}
    larger = {"supalove_tiers": {"pro": pro, "free": {"placement": "shared", "storage": "128Mi"}}}
    refused = playbook.run("projects", lab, "-e", json.dumps(larger), "-e", '{"supalove_projects_only": ["demo"]}')
    assert refused.code != 0
    assert "volumes of this platform do not grow" in " ".join(refused.output.split())


def test_6_a_login_that_is_refused_is_made_again_and_a_backup_follows(platform: Cluster, lab: Path) -> None:
    archive, administrator = status(platform, "p-demo")["archive"], object_store.administrator()
    of = {"UserName": f"{BUCKET}.platform.{archive}"}
    key = platform.secret("p-demo", "archive")["access_key"]
    assert administrator.iam("DeleteAccessKey", AccessKeyId=key, **of) == 200
    assert administrator.iam("DeleteUserPolicy", PolicyName="archive", **of) == 200
    assert administrator.iam("DeleteUser", **of) == 200
    logs, backup = runbook.commands(6)
    refused = runbook.attempt(backup)
    assert refused.returncode != 0, refused.stdout[-3000:]
    assert "nothing is archived: " in runbook.run(logs)
    repaired = playbook.run("projects", lab)
    assert repaired.code == 0, repaired.output[-3000:]
    runbook.run(backup)


def test_7_a_project_that_was_stopped_or_purged_comes_back(platform: Cluster, lab: Path) -> None:
    start, restore, load = runbook.commands(7)
    absent = {"supalove_projects": {**PROJECTS, "demo": {"tier": "pro", "state": "absent"}}}
    moment = written(platform, "demo", "p-demo")
    assert playbook.run("projects", lab, "-e", json.dumps(absent)).code == 0
    runbook.run(start)
    assert rows(platform, "demo") == "1,2"

    moment = written(platform, "notes", "s-free-1")
    gone = {"supalove_projects": {**PROJECTS, "notes": {"tier": "free", "state": "absent"}}}
    assert playbook.run("projects", lab, "-e", json.dumps(gone)).code == 0
    uid = uids(platform)["notes"]
    purge = playbook.run("projects", lab, "-e", json.dumps({**gone, "supalove_purge": {"notes": uid}}))
    assert purge.code == 0, purge.output[-3000:]
    assert playbook.run("projects", lab).code == 0
    runbook.run(restore, {"=acme": "=notes", "UID": uid, runbook.MOMENT: moment})
    assert rows(platform, "notes") == "1,2"
    platform.psql("p-notes", "DROP TABLE kept;")
    prefix = f"platform/exports/{uid}/final/"
    (dump,) = object_store.administrator().s3().list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    key = dump["Key"].removeprefix("platform/")
    runbook.run(load, {"=acme": "=notes", "exports/UID/final/TIME.dump": key})
    assert rows(platform, "notes") == "1,2"


def test_8_another_controller_has_all_it_needs_from_two_files_and_the_hosts(
    platform: Cluster, lab: Path, tmp_path: Path
) -> None:
    written(platform, "demo", "p-demo")
    shutil.copytree(KUBE, tmp_path / "kube", symlinks=True)
    shutil.rmtree(KUBE)
    KUBE.mkdir(mode=0o700)
    for name in ("vault-keys.json", "vault-operator.json"):
        shutil.copy2(tmp_path / "kube" / name, KUBE / name)
    check, converge = runbook.commands(8)
    runbook.run(check)
    runbook.run(converge)
    is_unchanged(lab, "site")
    assert rows(platform, "demo") == "1,2"


def test_9_a_server_that_comes_back_with_its_disk_is_finished_by_one_run(platform: Cluster, lab: Path) -> None:
    hosts.power_cut(SERVER)
    found = platform.psql("p-demo", "SELECT 1")
    assert found.returncode != 0, "the API server is away"
    hosts.power_on(SERVER)
    done = playbook.run("site", lab)
    assert done.code == 0, done.output[-3000:]
    is_unchanged(lab, "site")


def test_10_leaked_logins_are_refused_after_two_runs(platform: Cluster, lab: Path) -> None:
    before = platform.secret("p-demo", "credentials")
    platform.start_client("p-demo")
    address = f"postgresql://{before['owner.user']}:{before['owner.password']}@pooler.p-demo:6432/postgres"
    leaked_login = ("p-demo", "lab-client", "psql", "-qAtX", address, "-c", "SELECT 1")
    assert platform.execute(*leaked_login).returncode == 0
    for command in runbook.commands(10):
        runbook.run(command)
    assert platform.execute(*leaked_login).returncode != 0
    pair = {"access_key": secrets.token_hex(10).upper(), "secret_key": secrets.token_hex(20)}
    leaked = object_store.administrator()
    object_store.LOGIN.write_text(json.dumps(pair))
    done = playbook.run("object_store", lab)
    assert done.code == 0, done.output[-3000:]
    assert leaked.status("head_bucket", Bucket=BUCKET) == 403
    assert object_store.administrator().status("head_bucket", Bucket=BUCKET) == 200
    is_unchanged(lab, "site")


def test_2_a_node_that_is_gone_for_good_takes_no_archived_row_with_it(platform: Cluster, lab: Path) -> None:
    """The last, as it ends with a new host."""
    moments = {
        project: written(platform, project, server) for project, server in (("demo", "p-demo"), ("notes", "s-free-1"))
    }
    await_archived(platform, "p-demo")
    places = {
        one["metadata"]["namespace"]: one["spec"]["nodeName"]
        for one in platform.objects("pods", "-A")
        if one["metadata"]["name"] == "postgresql-0"
    }
    node = layout.host(places["s-free-1"])
    rest = tuple(one for one in layout.TOPOLOGIES["cluster"] if one != node)
    hosts.power_cut(node)
    inventory.write(rest, lab)
    names = {"worker-2": node.name, runbook.MOMENT: moments["notes"]}
    pods, delete, own, cluster, *_ = runbook.commands(2)
    assert "postgresql-0" in runbook.run(pods, names)
    runbook.run(delete, names)
    runbook.run(cluster, names)
    if places["p-demo"] == node.name:
        runbook.run(own, names)
    converged = playbook.run("projects", lab)
    assert converged.code == 0, converged.output[-3000:]
    assert {project: rows(platform, project) for project in moments} == {"demo": "1,2", "notes": "1,2"}
    hosts.renew([node])
    inventory.write(layout.TOPOLOGIES["cluster"], lab)
    joined = playbook.run("site", lab)
    assert joined.code == 0, joined.output[-3000:]
