# SPDX-License-Identifier: GPL-3.0-or-later
"""A leak hunt: after whole runs at the highest verbosity no secret is anywhere but where it is kept.

The runs make projects of both placements, change, rotate, stop and check them. Hunted are all passwords and verifiers
that were in Secrets meanwhile, the keys and logins of Vault, and the tokens of the cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import hosts, layout, playbook
from lab.cluster import Cluster
from lab.leaks import Needles, ProcessListings, generated, tokens_of

PROJECTS = {"demo": {"tier": "pro"}, "notes": {"tier": "free"}, "shop": {"tier": "free"}}
HUNTED = {"leaky": {"tier": "free"}, "leaky-pro": {"tier": "pro"}}
# What is in there is meant to be: Secrets as pods see them, in memory; layers of images are no place of ours.
KEPT = ("kubernetes.io~secret", "io.containerd.content.v1.content")
PLACES = ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var")
# Where a secret of the hosts' own is kept; 0600, as other tests see.
KEEPERS = ("/etc/rancher/k3s", "/etc/seaweedfs/s3.json", "/var/lib/rancher/k3s/server", "/var/lib/rancher/k3s/agent")
# Of an S3 whoever checks a signature has to know the key that it was made with.
STORE = "/var/lib/seaweedfs/"
PSQL = ("psql", "-h", "/run/postgresql", "-U", "postgres", "-d", "postgres", "-qAtX")
CATALOGS = ("pg_stat_activity", "pg_description", "pg_shdescription", "pg_db_role_setting", "pg_settings")


@dataclass(frozen=True)
class Hunt:
    """The secrets, and what was said and shown while they were made."""

    passwords: Needles
    verifiers: Needles
    tokens: Needles
    store_keys: Needles
    output: str
    listings: str
    log: str
    results: str

    def found_in(self, text: str) -> list[str]:
        return [
            name
            for one in (self.passwords, self.verifiers, self.tokens, self.store_keys)
            for name in one.found_in(text)
        ]


@pytest.fixture(scope="module")
def hunt(platform: Cluster, lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    folder = tmp_path_factory.mktemp("leaks")
    log, results = folder / "ansible.log", folder / "results.jsonl"
    kept = {"ANSIBLE_LOG_PATH": str(log), "LAB_RESULTS": str(results)}
    os.environ |= kept
    known: dict[str, str] = {}

    def run(name: str, projects: dict[str, dict[str, str]], *options: str) -> str:
        chosen = json.dumps({"supalove_projects": projects})
        done = playbook.run(name, lab, "-vvvv", "--diff", "-e", chosen, *options)
        assert done.code == 0, done.output[-3000:]
        known.update(generated(platform.objects("secrets", "-A", "-l", "supalove.cloud/project")))
        known.update(generated(platform.objects("secrets", "-A", "-l", "supalove.cloud/platform")))
        return done.output

    refs = json.dumps({"supalove_rotate_refs": sorted(HUNTED)})
    stopped = {ref: {**spec, "state": "absent"} for ref, spec in HUNTED.items()}
    try:
        with ProcessListings() as listings:
            output = run("site", {**PROJECTS, **HUNTED})
            output += run("rotate", {**PROJECTS, **HUNTED}, "-e", refs)
            output += run("rotate", {**PROJECTS, **HUNTED}, "-e", refs, "-e", "supalove_rotate_what=signing_key")
            output += run("projects", {**PROJECTS, **HUNTED}, "--check", "-e", "supalove_drift=full")
            output += run("projects", {**PROJECTS, **stopped})
    finally:
        for name in kept:
            del os.environ[name]
    yield Hunt(
        passwords=Needles(
            {name: word for name, word in known.items() if not name.endswith(("verifier", "secret_key"))}
        ),
        verifiers=Needles({name: word for name, word in known.items() if name.endswith("verifier")}),
        store_keys=Needles({name: word for name, word in known.items() if name.endswith("secret_key")}),
        tokens=Needles(tokens_of(layout.KUBECONFIG.parent, layout.host("control-1"))),
        output=output,
        listings=listings.text(),
        log=log.read_text(),
        results=results.read_text(),
    )
    uids = {ref: uid_of(platform, ref) for ref in HUNTED}
    gone = {"supalove_purge": uids, "supalove_purge_without_final_backup": [*uids]}
    done = playbook.run("projects", lab, "-e", json.dumps(gone))
    assert done.code == 0, done.output[-3000:]


def uid_of(found: Cluster, ref: str) -> str:
    return str(found.record(ref)["status"]["uid"])


def ssh(host: layout.Host, command: str, stdin: str = "") -> str:
    done = subprocess.run(hosts.ssh_command(host, command), input=stdin, capture_output=True, text=True, check=False)
    return done.stdout


def test_the_hunt_knows_secrets_of_every_kind(hunt: Hunt) -> None:
    """Otherwise it finds nothing because it looks for nothing."""
    names = " ".join((*hunt.passwords.names, *hunt.store_keys.names))
    for kind in (
        "owner.password",
        "server.password",
        "probe.password",
        "pauser.password",
        "admin.password",
        "signing.jwk",
        "archive secret_key",
        "archive encryption_key",
    ):
        assert kind in names
    assert "p-leaky/" in names
    assert hunt.verifiers.texts
    assert "vault-keys.json" in " ".join(hunt.tokens.names)


def test_no_secret_is_in_what_the_runs_printed_or_logged(hunt: Hunt) -> None:
    assert len(hunt.output) > 100_000
    assert hunt.found_in(hunt.output) == []
    assert hunt.found_in(hunt.log) == []


def test_no_secret_is_in_the_result_of_a_module(hunt: Hunt) -> None:
    """Not in those either that nothing prints."""
    assert hunt.results.count("\n") > 100
    assert hunt.found_in(hunt.results) == []


def test_no_secret_is_in_a_listing_of_processes(hunt: Hunt) -> None:
    assert "ansible-playbook" in hunt.listings
    assert hunt.found_in(hunt.listings) == []


def test_no_secret_is_in_an_object_other_than_a_secret(hunt: Hunt, platform: Cluster) -> None:
    kinds = platform.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    assert len(kinds) > 30
    for kind in kinds:
        if kind != "secrets":
            assert hunt.found_in(platform.kubectl("get", kind, "-A", "-o", "json", "--ignore-not-found")) == [], kind


def test_no_secret_is_in_a_log_of_a_pod_or_in_postgresql(hunt: Hunt, platform: Cluster) -> None:
    databases = 0
    for pod in platform.live_pods("-A"):
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if not namespace.startswith(("p-", "s-", "supalove-")):
            continue
        assert hunt.found_in(platform.kubectl("logs", "-n", namespace, name, "--all-containers")) == [], name
        if pod["metadata"]["labels"].get("supalove.cloud/component") == "postgresql":
            databases += 1
            ask = [word for catalog in CATALOGS for word in ("-c", f"TABLE pg_catalog.{catalog}")]
            asked = platform.execute(namespace, name, *PSQL, *ask)
            assert asked.returncode == 0, asked.stderr
            assert hunt.found_in(asked.stdout) == [], name
    assert databases >= 2


@pytest.mark.parametrize("host", layout.TOPOLOGIES["cluster"], ids=lambda host: host.name)
def test_no_secret_is_in_a_file_of_a_host(hunt: Hunt, host: layout.Host) -> None:
    """PostgreSQL's own files hold verifiers, as they should; nothing holds a password."""
    assert files_with(host, hunt.passwords, PLACES) == []
    assert [path for path in files_with(host, hunt.tokens, PLACES) if not path.startswith(KEEPERS)] == []
    assert [path for path in files_with(host, hunt.store_keys, PLACES) if not path.startswith(STORE)] == []


def files_with(host: layout.Host, needles: Needles, places: tuple[str, ...]) -> list[str]:
    """The needles go through a pipe, so that the search itself shows none."""
    excluded = " ".join(f"--exclude-dir='{name}'" for name in KEPT)
    return ssh(
        host, f"grep -rlaF -f - {excluded} {' '.join(places)} 2>/dev/null", "\n".join(needles.texts)
    ).splitlines()


def test_the_search_through_files_finds_what_is_there(hunt: Hunt) -> None:
    """A file with a password of ours, hex-encoded, made for the test."""
    host, path = layout.host("data-1"), "/tmp/leak-of-the-test"
    spelled = next(text for text in hunt.passwords.texts if text.isalnum() and text.islower())
    ssh(host, f"cat > {path}", spelled)
    try:
        assert path in files_with(host, hunt.passwords, ("/tmp",))
    finally:
        ssh(host, f"rm {path}")


@pytest.mark.parametrize("log", ["/var/lib/rancher/k3s/server/logs/audit.log", "/var/log/openbao/audit.log"])
def test_no_secret_is_in_an_audit_log(hunt: Hunt, log: str) -> None:
    text = ssh(layout.host("control-1"), f"cat {log}")
    assert len(text) > 10_000
    assert hunt.found_in(text) == []
