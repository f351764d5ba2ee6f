# SPDX-License-Identifier: GPL-3.0-or-later
"""A Vault of three servers: found, lose a server, change it under load, and what becomes of its keys.

The hosts run nothing else. The tests build on each other in their order: the first ones keep a Vault of three, the
later ones take one of its hosts for a Vault of its own.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import artifacts, hosts, interrupt, layout, playbook, vault
from lab.vault import Site, Vault

MEMBERS = layout.TOPOLOGIES["vault"]
NAMES = {host.name for host in MEMBERS}
ELECTION_SECONDS = 60
NEXT = "99.0.0"
SECRET = "supalove/data/database/kept"
UNSEALING = {"Unseal the server that founded the Vault, or leads it", "Unseal the other servers"}

# Fifteen runs of a playbook: more than CI has time for.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three hosts without a Vault."""
    artifacts.openbao()
    hosts.up(MEMBERS)
    made = vault.site(MEMBERS, tmp_path_factory.mktemp("raft"))
    made.forget()
    return made


@pytest.fixture(scope="module")
def later() -> Iterator[dict[str, Any]]:
    """A release to go to: the same program under another version, as a second one cannot be had."""
    artifacts.openbao(NEXT, mark=b"\n")
    yield {"vault_version": NEXT, "vault_environment": {"LAB": "x"}}
    shutil.rmtree(artifacts.tree() / f"openbao/v{NEXT}")


@pytest.fixture(scope="module")
def founded(raft: Site) -> Site:
    run(raft)
    return raft


@pytest.fixture(scope="module")
def alone(raft: Site, snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One of the hosts, without its Vault, in an inventory of its own; of the Vault of three a snapshot is left."""
    assert snapshot.exists()
    raft.forget()
    return vault.site(MEMBERS[:1], tmp_path_factory.mktemp("alone"))


def run(site: Site, *options: str, extra: dict[str, Any] | None = None, name: str = "vault") -> playbook.Run:
    """A run that succeeds."""
    done = attempt(site, *options, extra=extra, name=name)
    assert done.code == 0, done.output[-3000:]
    return done


def attempt(site: Site, *options: str, extra: dict[str, Any] | None = None, name: str = "vault") -> playbook.Run:
    return playbook.run(name, site.inventory, *options, *(("-e", json.dumps(extra)) if extra else ()))


def await_that(is_so: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + ELECTION_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not within {ELECTION_SECONDS} s: {what}"
        time.sleep(0.2)


def engine(site: Site) -> list[Vault]:
    """Every server that answers, with one login of the engine, once it can be had."""
    logins: list[Vault] = []

    def logged_in() -> bool:
        for server in site.servers():
            try:
                logins.append(server.login(site.file("engine.json")))
            except (OSError, KeyError):
                continue
            return True
        return False

    await_that(logged_in, "a login")
    return [replace(server, token=logins[0].token) for server in site.servers()]


def voters(site: Site) -> set[str]:
    operator = next(server for server in site.servers() if server.try_to("GET", "sys/seal-status") == 200)
    answer = operator.login(site.file("operator.json")).ask("GET", "sys/storage/raft/configuration")
    return {peer["node_id"] for peer in answer.body["data"]["config"]["servers"] if peer["voter"]}


def started(host: layout.Host) -> int:
    """When the server was started, on the clock that all the lab's hosts share."""
    return int(hosts.run_on(host, "systemctl show openbao --value -p ExecMainStartTimestampMonotonic"))


def was_elected(host: layout.Host, *, since: float, before: float) -> bool:
    """Whether the server began to lead between two moments on the same clock, in seconds."""
    log = hosts.run_on(host, "journalctl --unit=openbao --output=short-monotonic | grep 'entering leader state'")
    return any(since < float(line[1:].partition("]")[0]) < before for line in log.splitlines())


@contextmanager
def reading(servers: list[Vault]) -> Iterator[list[list[int]]]:
    """Read a secret through every server all the time; gives the rounds in which none of them had it."""
    failures: list[list[int]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.05):
            seen = [server.try_to("GET", SECRET) for server in servers]
            if 200 not in seen:
                failures.append(seen)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield failures
    finally:
        ended.set()
        thread.join()


def test_a_check_on_clean_hosts_says_what_would_be_done_and_does_nothing(raft: Site) -> None:
    done = run(raft, "--check")
    assert all(done.hosts[name]["changed"] for name in NAMES)
    assert not raft.file("keys.json").exists()
    assert not any(hosts.has_path(host, "/etc/openbao") for host in MEMBERS)


def test_three_servers_are_one_vault_with_an_audit_log_on_each(founded: Site) -> None:
    assert [server.is_sealed() for server in founded.servers()] == [False] * 3
    leaders = {server.ask("GET", "sys/leader").body["leader_address"] for server in founded.servers()}
    assert len(leaders) == 1
    assert engine(founded)[0].ask("POST", SECRET, {"data": {"a": "b"}}).status == 200
    for server, host in zip(engine(founded), MEMBERS, strict=True):
        await_that(lambda server=server: server.try_to("GET", SECRET) == 200, "the secret on every server")
        assert SECRET in hosts.run_on(host, "cat /var/log/openbao/audit.log")
        assert not hosts.has_path(host, "/etc/openbao/init.json")
    await_that(lambda: voters(founded) == NAMES, "three voters")


def test_a_second_run_changes_nothing(founded: Site) -> None:
    assert not run(founded).changes


def test_a_new_release_and_setting_roll_through_with_the_leader_last_while_reads_go_on(
    founded: Site, later: dict[str, Any]
) -> None:
    before, looked, leader = {host: started(host) for host in MEMBERS}, time.monotonic(), founded.leader()
    with reading(engine(founded)) as failures:
        run(founded, extra=later)
    assert failures == []
    after = {host: started(host) for host in MEMBERS}
    assert all(after[host] > before[host] for host in MEMBERS)
    # On a busy machine another may be elected between our look and the first restart.
    first = min(after.values()) / 1e6
    leaders = {leader, *(host for host in MEMBERS if was_elected(host, since=looked, before=first))}
    assert max(after, key=lambda host: after[host]) in leaders


def test_the_others_serve_when_the_leader_loses_power_and_a_new_host_takes_its_place(
    founded: Site, later: dict[str, Any]
) -> None:
    """A new host has nothing of the old one: should it have had the authority, another is made."""
    lost = founded.leader()
    assert lost is not None
    hosts.power_cut(lost)
    await_that(lambda: founded.leader() not in (None, lost), "another leader")
    others = [server for server in engine(founded) if lost.address not in server.address]
    await_that(lambda: others[0].try_to("POST", SECRET, {"data": {"a": "c"}}) == 200, "a write")
    for server in others:
        # One that does not lead answers with what it knows, which may be of a moment ago.
        await_that(
            lambda server=server: server.ask("GET", SECRET).body["data"]["data"] == {"a": "c"}, "what was written"
        )
    hosts.renew([lost])
    run(founded, extra=later)
    assert [server.is_sealed() for server in founded.servers()] == [False] * 3
    assert len({server.ask("GET", "sys/leader").body["leader_address"] for server in founded.servers()}) == 1
    await_that(lambda: voters(founded) == NAMES, "three voters")


def test_servers_that_were_all_away_are_unsealed_and_the_run_waits_until_one_leads(
    founded: Site, later: dict[str, Any]
) -> None:
    before = engine(founded)[0].ask("GET", SECRET).body["data"]["data"]
    for host in MEMBERS:
        hosts.run_on(host, "systemctl restart openbao")
    done = run(founded, extra=later)
    assert {task for _host, task in done.changes} <= UNSEALING
    assert engine(founded)[0].ask("GET", SECRET).body["data"]["data"] == before


@pytest.fixture(scope="module")
def snapshot(founded: Site) -> Path:
    path = founded.inventory.parent / "vault.snap"
    await_that(lambda: engine(founded)[0].try_to("POST", SECRET, {"data": {"a": "saved"}}) == 200, "a write")
    run(founded, "-e", f"vault_snapshot_path={path}", name="vault_snapshot")
    return path


@pytest.fixture(scope="module")
def pgp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """gpg with the private keys of three recipients."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def gpg(*arguments: str, given: bytes = b"") -> str:
        argv = ["gpg", f"--homedir={home}", "--batch", "--quiet", *arguments]
        return subprocess.run(argv, input=given, capture_output=True, check=True).stdout.decode()

    for name in "abc":
        gpg("--passphrase=", "--quick-generate-key", f"{name}@example.org", "rsa2048", "encrypt", "never")
    yield gpg
    subprocess.run(["gpgconf", f"--homedir={home}", "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def opened(alone: Site, pgp: Callable[..., str]) -> dict[str, Any]:
    """What the owners of the keys make of a run that founds a Vault for them."""
    keys = [pgp("--armor", "--export", f"{name}@example.org") for name in "abc"]
    settings = {"vault_pgp_keys": keys, "vault_key_threshold": 2}
    done = attempt(alone, extra=settings)
    assert done.code != 0
    assert "runs again with vault_unseal_keys" in " ".join(done.output.split())
    kept = json.loads(alone.file("keys.json").read_text())
    shares = [pgp("--decrypt", given=base64.b64decode(text)) for text in kept["pgp_keys_base64"]]
    token = pgp("--decrypt", given=base64.b64decode(kept["pgp_root_token"]))
    assert len(shares) == 3
    return {**settings, "vault_unseal_keys": shares[1:], "vault_token": token}


def test_a_vault_for_owners_of_pgp_keys_stops_for_them_and_the_next_run_finishes_it(
    alone: Site, opened: dict[str, Any]
) -> None:
    run(alone, extra=opened)
    assert not alone.servers()[0].is_sealed()
    assert not hosts.has_path(MEMBERS[0], "/etc/openbao/init.json")
    # Neither keys nor token are needed any more.
    assert not run(alone, extra={"vault_pgp_keys": opened["vault_pgp_keys"], "vault_key_threshold": 2}).changes


def test_a_vault_that_is_elsewhere_is_set_up_from_a_controller_that_becomes_nobody(
    alone: Site, opened: dict[str, Any], tmp_path: Path
) -> None:
    """With the login that somebody there made for it, which is not where the engine logs in."""
    [server] = [replace(each, token=opened["vault_token"]) for each in alone.servers()]
    assert server.ask("POST", "sys/auth/platforms", {"type": "approle"}).status == 204
    assert (
        server.ask(
            "POST",
            "sys/policies/acl/all",
            {"policy": 'path "*" {capabilities=["create","read","update","list","sudo"]}'},
        ).status
        == 204
    )
    assert server.ask("POST", "auth/platforms/role/us", {"token_policies": ["all"]}).status == 204
    external = {
        "address": server.address,
        "ca_path": str(alone.file("ca.pem")),
        "approle_path": "platforms",
        "role_id": server.ask("GET", "auth/platforms/role/us/role-id").body["data"]["role_id"],
        "secret_id": server.ask("POST", "auth/platforms/role/us/secret-id", {}).body["data"]["secret_id"],
    }
    # The host is not touched: nobody is there who could log in to it.
    extra = {
        "vault_external": external,
        "vault_mount": "elsewhere",
        "vault_controller_dir": str(tmp_path / "kube"),
        "ansible_become_exe": "/bin/false",
    }
    assert run(alone, extra=extra).changes
    assert not run(alone, extra=extra).changes
    login = replace(server, token="").login(tmp_path / "kube/vault-engine.json")
    assert login.ask("POST", "elsewhere/data/database/x", {"data": {"a": "b"}}).status == 200


def test_a_snapshot_is_restored_into_a_new_vault_and_opens_with_the_keys_of_the_old_one(
    founded: Site, snapshot: Path, alone: Site, opened: dict[str, Any]
) -> None:
    """The steps of docs/vault.md."""
    [host] = alone.members
    with snapshot.open("rb") as file:
        subprocess.run(hosts.ssh_command(host, "cat > /root/vault.snap"), stdin=file, check=True)
    restore = (
        f"BAO_TOKEN={opened['vault_token']} bao operator raft snapshot restore -force /root/vault.snap && echo done"
    )
    assert "done" in hosts.run_on(host, vault.CLIENT + restore)
    await_that(alone.servers()[0].is_sealed, "it is sealed")
    # It keeps in memory how many shares the other keys took.
    hosts.run_on(host, "systemctl restart openbao")
    for name in ("keys.json", "operator.json", "engine.json"):
        shutil.copy(founded.file(name), alone.file(name))
    run(alone)
    assert engine(alone)[0].ask("GET", SECRET).body["data"]["data"] == {"a": "saved"}


SINK = """
- name: Put it where it is kept
  ansible.builtin.copy:
    dest: "{folder}/{{{{ vault_sink_name }}}}.json"
    content: "{{{{ vault_sink_content | to_nice_json }}}}"
    mode: "0600"
  delegate_to: localhost
  become: false
  no_log: true
"""


def test_a_run_killed_right_after_the_initialisation_loses_nothing_and_a_seal_opens_without_keys(
    alone: Site, tmp_path: Path
) -> None:
    """On AWX, whose controller keeps nothing: all goes to the sink."""
    alone.forget()
    shutil.rmtree(alone.inventory.parent / ".kube")
    sink = tmp_path / "sink.yml"
    sink.write_text(SINK.format(folder=tmp_path))
    extra = {
        "awx_job_id": 7,
        "vault_keys_sink_tasks": str(sink),
        "vault_seal": {"static": {"current_key_id": "a", "current_key": "env://LAB_SEAL_KEY"}},
        "vault_environment": {"LAB_SEAL_KEY": secrets.token_hex(32)},
    }
    [host] = alone.members
    answer = "/etc/openbao/init.json"
    options = ("vault", alone.inventory, "-e", json.dumps(extra))
    interrupt.at(lambda: "init" in hosts.run_on(host, f"ls {answer} {answer}.part 2>/dev/null"), options, 120)
    run(alone, extra=extra)
    kept = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("keys", "operator", "engine")}
    assert len(kept["keys"]["recovery_keys_base64"]) == 5
    assert not hosts.has_path(host, answer)
    assert not (alone.inventory.parent / ".kube").exists()
    hosts.run_on(host, "systemctl restart openbao")
    status = json.loads(hosts.run_on(host, f"sleep 2; {vault.CLIENT} bao status -format=json"))
    assert (status["type"], status["sealed"]) == ("static", False)
