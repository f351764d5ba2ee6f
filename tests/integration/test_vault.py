# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in Vault: what the engine keeps there, and what becomes of a run when Vault is not as it should be."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import Secret
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    DeadlineExceeded,
    Denied,
    Rejected,
    ServerFailed,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Result, Step
from fix_engine import Killed
from fix_proxy import Proxy
from test_life import namespaces_that_go, purge_of

FREE = {"tier": "free"}


def path_of(engine, ref):
    return f"database/{engine.record(ref)['status']['uid']}"


def secret_uid(engine, ref):
    return engine.server.request("GET", f"/api/v1/namespaces/p-{ref}/secrets/credentials")["metadata"]["uid"]


def a_secret(path):
    folder, name = path.split("/")
    return Desired(body={"kind": "VaultSecret", "metadata": {"namespace": folder, "name": name}})


def test_what_pods_get_is_what_vault_holds(engine, vault, ref):
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    assert report.succeeded, report
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)


def test_a_second_run_reads_names_only(engine, vault, ref):
    with vault.store() as store:
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    asked = len(vault.requests())
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
        assert (store.reads, store.writes) == (2, 0)
    assert (report.outcomes[0].result, report.writes) == (Result.UNCHANGED, 0)
    verbs = [one["request"]["operation"] for one in vault.requests()[asked:]]
    # Login and the end of its token among them.
    assert sorted(verbs) == ["list", "list", "update", "update"]


def test_the_token_of_a_run_ends_with_it(engine, vault, ref):
    before = vault.tokens()
    with vault.store() as store:
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
        assert len(vault.tokens() - before) == 1
    vault.await_end_of_tokens(but=before)


def test_moving_to_vault_is_one_run_and_restarts_nothing(engine, vault, ref):
    engine.settle({ref: FREE})
    before, uid = engine.secret(ref), secret_uid(engine, ref)
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    (outcome,) = report.outcomes
    assert [step.id.kind for step in outcome.steps] == ["VaultSecret"]
    assert "takes over the values of Secret" in outcome.steps[0].reason
    assert vault.texts(path_of(engine, ref)) == before == engine.secret(ref)
    assert secret_uid(engine, ref) == uid


def test_a_secret_that_was_lost_comes_back_with_the_same_values(engine, vault, ref):
    with vault.store() as store:
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    before = engine.secret(ref)
    engine.server.answer("DELETE", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    with vault.store() as store:
        report = engine.settle({ref: FREE}, platform=vault.platform(), vault=store, drift=Drift.FULL)
    assert report.succeeded, report
    assert engine.secret(ref) == before


def test_the_first_who_wrote_a_secret_is_right(engine, vault, ref):
    """Whoever looked before the other wrote: check-and-set decides."""
    with vault.store() as store:
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    path = path_of(engine, ref)
    before = vault.texts(path)
    with vault.store() as store:
        secret = a_secret(path)
        step = Step(action=Action.CREATE, id=secret.id, reason="it was not there", desired=secret, before=None)
        applied = store.apply(step, adopt=lambda: {"owner.password": "other"}, deadline=Deadline(limit_seconds=10))
    assert not applied.changed
    assert vault.texts(path) == before


def test_values_deleted_in_vault_are_not_replaced_by_others(engine, vault, ref):
    with vault.store() as store:
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    vault.root.secrets.kv.v2.delete_latest_version_of_secret(path_of(engine, ref), mount_point=vault.mount)
    engine.server.answer("DELETE", f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store, drift=Drift.FULL)
    assert "restore its last version" in report.outcomes[0].failure.reason


def test_check_mode_writes_nothing_to_vault(engine, vault, ref):
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store, check=True)
    assert any(step.id.kind == "VaultSecret" for step in report.outcomes[0].steps)
    assert (store.writes, vault.names()) == (0, [])


def test_purge_destroys_what_the_next_project_of_that_name_could_read(engine, vault, ref):
    """What pods may read lies below the name of the namespace, which another project can have one day."""
    kept = [f"tenants/p-{ref}/smtp", f"tenants/p-{ref}/oauth/github", f"tenants/p-{ref}x/smtp"]
    for path in kept:
        vault.write(path, {"password": "a"})
    with vault.store() as store:
        engine.settle({ref: FREE}, platform=vault.platform(), vault=store)
        engine.settle({ref: {**FREE, "state": "absent"}}, platform=vault.platform(), vault=store)
        with namespaces_that_go(engine):
            uid = engine.record(ref)["status"]["uid"]
            assert engine.reconcile({}, platform=vault.platform(), vault=store, **purge_of(ref, uid)).succeeded
    assert vault.names("tenants") == [f"p-{ref}x/"]


def test_purge_destroys_every_version(engine, vault, ref):
    with vault.store() as store:
        engine.settle({ref: FREE}, platform=vault.platform(), vault=store)
        engine.settle({ref: {**FREE, "state": "absent"}}, platform=vault.platform(), vault=store)
        uid = engine.record(ref)["status"]["uid"]
        assert vault.names() == [uid]
        with namespaces_that_go(engine):
            report = engine.reconcile({}, platform=vault.platform(), vault=store, **purge_of(ref, uid))
    assert report.succeeded, report
    assert vault.names() == []


def test_the_password_of_a_shared_clusters_admin_is_kept_too(engine, vault):
    cluster = {"cpu": 1, "memory": "1Gi", "storage": "2Gi"}
    platform = {**vault.platform(), "shared_clusters": {"kept": cluster}}
    with vault.store() as store, engine.ready_workloads("s-kept"):
        report = engine.prepare(platform=platform, vault=store)
    assert report.succeeded, report
    assert sorted(vault.texts("clusters/kept")) == ["admin.password", "admin.user", "admin.verifier"]
    with vault.store() as store:
        assert engine.prepare(platform=platform, vault=store).writes == 0


@pytest.mark.parametrize("writes", range(1, 12))
def test_a_run_killed_at_any_write_leaves_one_value_for_each_password(engine, vault, ref, writes):
    with vault.store() as store, pytest.raises(Killed):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store, dies_after=writes)
    engine.free_lease()
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    assert report.succeeded, report
    assert vault.names() == [engine.record(ref)["status"]["uid"]]
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)


def test_vault_sealed_changes_nothing_and_the_next_run_finishes(engine, vault, ref):
    vault.seal()
    try:
        with vault.store() as store, pytest.raises(ServerFailed, match=r"Vault is sealed; unseal it and run again"):
            engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    finally:
        vault.unseal()
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}")
    with vault.store() as store:
        assert engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store).succeeded


def test_vault_sealed_mid_run_leaves_no_half_written_secret(engine, vault, ref):
    """The names were read; then it was sealed."""
    with vault.store() as store:
        platform = vault.platform()
        sealing = _Before(store, vault.seal)
        try:
            report = engine.reconcile({ref: FREE}, platform=platform, vault=sealing)
        finally:
            vault.unseal()
        (outcome,) = report.outcomes
        assert outcome.result is Result.FAILED
        assert outcome.failure.object.startswith("VaultSecret/database/")
        assert "sealed" in outcome.failure.reason
        assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    with vault.store() as store:
        assert engine.reconcile({ref: FREE}, platform=platform, vault=store).succeeded
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)


def test_a_run_longer_than_a_tokens_life_logs_in_again(engine, vault, ref):
    vault.let_tokens_live(2)
    before, asked = vault.tokens(), [len(vault.logins())]

    def outlive():
        """The next one lives longer, so that it is the last one however long the rest of the run takes."""
        vault.let_tokens_live(600)
        asked.append(len(vault.logins()))
        time.sleep(2.5)

    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=_Before(store, outlive))
    assert report.succeeded, report
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)
    assert asked[0] < asked[1] == len(vault.logins()) - 1
    vault.await_end_of_tokens(but=before)


def test_a_token_that_ends_while_a_request_is_on_its_way_is_replaced(vault):
    """Sent before its end, and read after it."""
    vault.let_tokens_live(5)
    before, asked = vault.tokens(), len(vault.logins())
    with (
        ThreadPoolExecutor() as pool,
        through_proxy(vault) as (address, proxy),
        vault.store(address=address, answer_seconds=60) as store,
    ):
        store.observe(deadline=Deadline(limit_seconds=60))
        proxy.hold()
        held = pool.submit(store.observe, deadline=Deadline(limit_seconds=60))
        # It ends for the client, by this clock, and for the server.
        time.sleep(5)
        vault.await_end_of_tokens(but=before)
        vault.let_tokens_live(600)
        proxy.release()
        held.result()
    refused = [one["request"]["path"] for one in vault.requests() if "permission denied" in one.get("error", "")]
    assert refused[-1].startswith(vault.mount)
    assert len(vault.logins()) == asked + 2


def test_a_token_that_always_ends_on_its_way_is_told_and_not_asked_for_forever(vault):
    vault.let_tokens_live(1)
    asked = len(vault.logins())
    with (
        through_proxy(vault, delay_seconds=1.2) as (slow, _proxy),
        vault.store(address=slow) as store,
        pytest.raises(Denied, match="its token has ended"),
    ):
        store.read(a_secret("database/a").id, deadline=Deadline(limit_seconds=60))
    assert len(vault.logins()) == asked + 2


def test_a_token_that_is_revoked_mid_run_is_told_and_the_next_run_finishes(engine, vault, ref):
    """Before its time, so somebody wanted that: no other is asked for."""
    asked = len(vault.logins())
    with vault.store() as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=_Before(store, vault.revoke_all_others))
    (outcome,) = report.outcomes
    assert "its token has ended" in outcome.failure.reason
    assert outcome.failure.status == 403
    assert len(vault.logins()) == asked + 1
    with vault.store() as store:
        assert engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store).succeeded


def test_a_vault_that_is_not_there_is_named(engine, vault, ref):
    with (
        vault.store(address="https://127.0.0.1:9") as store,
        pytest.raises(Unreachable, match=r"LOGIN Vault https://127.0.0.1:9: .*[Rr]efused"),
    ):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)


def test_a_vault_that_never_answers_is_given_up(engine, vault, ref):
    with (
        vault.store(answer_seconds=0.5) as store,
        vault.frozen(),
        pytest.raises(Unreachable, match="it did not answer in time"),
    ):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)


def test_a_slow_vault_takes_time_and_nothing_else(engine, vault, ref):
    with through_proxy(vault, delay_seconds=0.2) as (slow, _proxy), vault.store(address=slow) as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    assert report.succeeded, report
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)


def test_a_vault_that_is_slower_than_the_run_may_take_ends_it_before_anything_is_written(engine, vault, ref):
    with (
        through_proxy(vault, delay_seconds=1.0) as (slow, _proxy),
        vault.store(address=slow) as store,
        pytest.raises(DeadlineExceeded, match="the limit of 3 s has passed"),
    ):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store, timeout_seconds=3.0)
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}")


def test_a_vault_that_goes_away_mid_run_leaves_nothing_half_written_and_the_next_run_finishes(engine, vault, ref):
    with through_proxy(vault) as (address, proxy), vault.store(address=address) as store:
        report = engine.reconcile({ref: FREE}, platform=vault.platform(), vault=_Before(store, proxy.stop))
    (outcome,) = report.outcomes
    assert outcome.failure.object.startswith("VaultSecret/database/")
    assert not engine.server.exists(f"/api/v1/namespaces/p-{ref}/secrets/credentials")
    with vault.store() as store:
        assert engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store).succeeded
    assert vault.texts(path_of(engine, ref)) == engine.secret(ref)


@contextlib.contextmanager
def through_proxy(vault, **rest):
    """The address of a proxy in front of the server, and the proxy."""
    port = urlsplit(vault.address).port
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", port)), **rest)
    try:
        yield f"https://127.0.0.1:{proxy.port}", proxy
    finally:
        proxy.close()


def test_a_certificate_of_another_authority_is_refused(engine, vault, ref):
    """The system's authorities have not signed it."""
    with vault.store(ca_file=None) as store, pytest.raises(Rejected, match="certificate cannot be verified"):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)


def test_a_ca_file_that_goes_away_is_told(vault, tmp_path):
    with (
        vault.store(ca_file=str(tmp_path / "gone.pem")) as store,
        pytest.raises(Unreachable, match=r"LOGIN Vault .*gone\.pem"),
    ):
        store.observe(deadline=Deadline(limit_seconds=10))


def test_a_ca_file_without_certificates_is_told(vault, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with vault.store(ca_file=str(path)) as store, pytest.raises(Rejected, match="certificate cannot be verified"):
        store.observe(deadline=Deadline(limit_seconds=10))


def test_a_wrong_secret_id_is_told_without_showing_it(engine, vault, ref):
    with (
        vault.store(secret_id=Secret("11111111-2222-3333-4444-555555555555")) as store,
        pytest.raises((Denied, Rejected)) as caught,
    ):
        engine.reconcile({ref: FREE}, platform=vault.platform(), vault=store)
    assert "LOGIN Vault" in str(caught.value)
    assert "55555555" not in str(caught.value)


class _Before:
    """A store to which something happens right before its first step."""

    def __init__(self, store, happens):
        self._store = store
        self._happens = happens

    def __getattr__(self, name):
        return getattr(self._store, name)

    def apply(self, step, **rest):
        self._happens()
        return self._store.apply(step, **rest)
