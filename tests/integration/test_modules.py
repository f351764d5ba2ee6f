# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as a user runs them: by ansible-playbook, with what is on the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES
from fix_engine import TIERS


@pytest.fixture
def play(engine, tmp_path):
    """Runs one module; returns its result and everything that was printed."""

    def run(module, *flags, kubeconfig=None, ok=True, **arguments):
        arguments.setdefault("kubeconfig", str(kubeconfig or engine.server.kubeconfig))
        tasks = [
            {"name": "Run", f"supalove.platform.{module}": arguments, "register": "r", "ignore_errors": True},
            {
                "name": "Keep",
                "ansible.builtin.copy": {"content": "{{ r | to_json }}", "dest": str(tmp_path / "result")},
            },
        ]
        # check_mode: false keeps the result in check mode, too.
        tasks[1] |= {"check_mode": False, "diff": False, "no_log": True}
        vars_ = {"ansible_python_interpreter": sys.executable}
        play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": vars_, "tasks": tasks}]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(play, sort_keys=False))
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": os.environ["SUPALOVE_COLLECTIONS"]}
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", str(tmp_path / "play.yml"), "-i", "localhost,", *flags],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads((tmp_path / "result").read_text())
        assert result.get("failed", False) is not ok, result
        return result, done.stdout + done.stderr

    return run


def test_from_nothing_to_a_project_and_again_without_a_change(engine, ref, play):
    projects = {ref: {"tier": "free"}}
    with engine.ready_workloads(ref):
        first, printed = play("projects", "-vvv", "--diff", projects=projects, tiers=TIERS)
    assert first["changed"] is True
    assert first["counts"] == {"changed": 1, "unchanged": 0, "waiting": 0, "held": 0, "failed": 0}
    assert first["outcomes"][0]["endpoints"]["secret"] == f"p-{ref}/credentials"
    assert "workloads ready: 2 of 2" in printed
    for word in engine.secret(ref).values():
        assert word not in printed or word.endswith(("owner_a", "_owner", "_probe", "_pauser"))
    again, _printed = play("projects", projects=projects, tiers=TIERS)
    assert (again["changed"], again["outcomes"], again["requests"]["writes"]) == (False, [], 0)
    assert "invocation" not in again


def test_check_mode_with_diff_shows_each_object_and_changes_none(ref, play):
    result, printed = play("projects", "--check", "--diff", projects={ref: {"tier": "free"}}, tiers=TIERS)
    assert result["changed"] is True
    assert result["requests"]["writes"] == 0
    assert f"StatefulSet/p-{ref}/postgresql (create: it does not exist)" in printed


def test_check_mode_before_there_is_a_cluster_plans_everything(tmp_path, play):
    missing = tmp_path / "not-yet"
    result, printed = play("projects", "--check", kubeconfig=missing, projects={"acme": {"tier": "free"}}, tiers=TIERS)
    assert result["counts"]["changed"] == 1
    assert "There is no cluster yet" in printed
    assert play("platform", "--check", kubeconfig=missing, tiers=TIERS)[0]["changed"] is True
    assert play("project_info", "--check", kubeconfig=missing)[0]["projects"] == []
    assert play("backup", "--check", kubeconfig=missing)[0]["outcomes"] == []


def test_wrong_input_is_told_at_once_and_before_any_connection(tmp_path, play):
    projects = {"www": {"tier": "free"}, "acme": {"tier": "gold"}}
    tiers = {"free": {**TIERS["free"], "memory": "4GB"}}
    result, _printed = play("projects", kubeconfig=tmp_path / "missing", projects=projects, tiers=tiers, ok=False)
    assert [one["path"] for one in result["problems"]] == [
        "supalove_tiers.free.memory",
        "supalove_projects.www",
        "supalove_projects.acme.tier",
    ]
    assert "found '4GB', allowed is a whole number with Mi, Gi or Ti" in result["msg"]


def test_no_workers_at_all_is_wrong_input(play):
    result, _printed = play("projects", projects={}, tiers=TIERS, workers=0, timeout=-1, ok=False)
    assert [one["path"] for one in result["problems"]] == ["timeout", "workers"]


def test_a_progress_file_that_cannot_be_written_stops_nothing(ref, tmp_path, play):
    file = tmp_path / "gone" / "progress"
    result, _printed = play(
        "projects", projects={ref: {"tier": "free"}}, tiers=TIERS, wait=False, progress_file=str(file)
    )
    assert result["counts"]["changed"] == 1


def test_a_project_that_fails_fails_the_task_with_its_reason(engine, ref, play):
    engine.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": f"p-{ref}"}})
    result, _printed = play("projects", projects={ref: {"tier": "free"}}, tiers=TIERS, wait=False, ok=False)
    assert f"{ref}: plan Namespace/p-{ref}: it exists and does not carry the label" in result["msg"]
    assert result["outcomes"][0]["failure"]["step"] == "plan"


def test_project_info_tells_state_and_never_a_password(engine, ref, play):
    engine.settle({ref: {"tier": "free"}})
    result, printed = play("project_info", "-vvv", refs=[ref, "nobody"])
    (project,) = result["projects"]
    assert (project["ref"], project["phase"], project["ready"]) == (ref, "Ready", True)
    assert (project["placement"], project["state"], project["drift"]) == ("dedicated", "present", [])
    assert project["sizes"] == {"cpu": "250m", "memory": "256Mi", "storage": "1Gi"}
    assert engine.secret(ref)["owner.password"] not in printed + json.dumps(result)


def test_project_info_names_what_others_changed(engine, ref, play):
    engine.settle({ref: {"tier": "free"}})
    engine.server.merge(f"/api/v1/namespaces/p-{ref}/configmaps/pooler", {"data": {"pgbouncer.ini": ""}})
    engine.server.request("DELETE", f"/api/v1/namespaces/p-{ref}/services/pooler")
    (project,) = play("project_info", refs=[ref])[0]["projects"]
    assert project["drift"] == [
        f"ConfigMap/p-{ref}/pooler: somebody has written to it",
        f"Service/p-{ref}/pooler: it is gone",
    ]


def test_project_info_says_what_is_not_ready(engine, ref, play):
    engine.reconcile({ref: {"tier": "free"}})
    (project,) = play("project_info", refs=[ref])[0]["projects"]
    assert project["ready"] is False
    assert len(project["waiting_for"]) == 2


def test_project_info_tells_of_an_archive_only_when_asked_and_that_there_is_none(engine, ref, play):
    engine.settle({ref: {"tier": "free"}})
    assert "archive" not in play("project_info", refs=[ref])[0]["projects"][0]
    (project,) = play("project_info", refs=[ref], archive=True)[0]["projects"]
    assert project["archive"] == {
        "is_healthy": False,
        "problems": ["nothing is archived: the platform has no object store"],
    }


def test_a_backup_says_what_it_would_do_and_which_names_cannot_be(engine, ref, play):
    engine.settle({ref: {"tier": "free"}})
    platform = {"object_store_endpoint": "https://127.0.0.1:8333"}
    result, _printed = play("backup", "--check", platform=platform, refs=[ref], full=True)
    assert (result["changed"], result["counts"]["changed"]) == (True, 1)
    assert result["outcomes"][0]["reason"] == "a full base backup would be asked for"
    assert "invocation" not in result
    result, _printed = play("backup", platform=platform, refs=["nobody"], clusters=["none"], ok=False)
    assert [one["path"] for one in result["problems"]] == ["refs", "clusters"]
    assert "set object_store_endpoint" in play("backup", ok=False)[0]["msg"]


def test_without_the_kubernetes_package_the_error_names_it(tmp_path, play, monkeypatch):
    (tmp_path / "kubernetes.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result, _printed = play("projects", projects={}, tiers=TIERS, ok=False)
    assert "Failed to import the required Python library (kubernetes)" in result["msg"]


def test_the_platform_module_changes_nothing_when_all_is_there(play):
    assert play("platform", tiers=TIERS)[0]["changed"] is False


@pytest.mark.usefixtures("route_kind")
def test_who_does_without_a_check_of_keys_is_told_once_a_run(play):
    platform = {"domain": "example.com", "gateway_kind": "route", "gateway_unchecked_keys_accepted": True}
    result, _printed = play("projects", "--check", projects={}, tiers=TIERS, platform=platform)
    (warning,) = result["warnings"]
    assert warning.startswith("Nobody checks the keys of projects")


def test_nobody_is_warned_of_keys_that_are_checked(play):
    result, _printed = play("projects", "--check", projects={}, tiers=TIERS)
    assert not result.get("warnings")


def test_images_that_only_a_tag_names_are_told_once_a_run_and_those_with_a_digest_are_not(play):
    digest = f"sha256:{'0' * 64}"
    images = {"postgresql": f"registry.example.com/postgresql:17@{digest}"}
    result, _printed = play("platform", "--check", tiers=TIERS, platform={"images": images})
    (warning,) = result["warnings"]
    assert "Named by tags" in warning
    assert IMAGES["pgbouncer"] in warning
    assert "registry.example.com/postgresql" not in warning
    images["pgbouncer"] = f"registry.example.com/pgbouncer:1@{digest}"
    result, _printed = play("platform", "--check", tiers=TIERS, platform={"images": images})
    assert not result.get("warnings")
