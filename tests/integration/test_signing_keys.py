# SPDX-License-Identifier: GPL-3.0-or-later
"""Another key for the tokens of a project while tokens are made and verified: none is refused."""

from __future__ import annotations

import base64
import collections
import json
import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse
from ansible_collections.supalove.platform.plugins.module_utils._engine.rotate import What, rotate
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Result
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

FREE = {"tier": "free"}
ES256 = ec.ECDSA(hashes.SHA256())
# Seconds: how far behind a pod's files are, how long a token is good for, and what a rotation waits for.
LAG, TOKEN, SETTLE = 1.0, 1.0, 3


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def sign(key, message):
    key = json.loads(key)
    return key["kid"], ec.derive_private_key(number(key["d"]), ec.SECP256R1()).sign(message, ES256)


def is_good(keys, kid, signature, message):
    found = [key for key in json.loads(keys)["keys"] if key["kid"] == kid]
    if not found:
        return False
    point = ec.EllipticCurvePublicNumbers(number(found[0]["x"]), number(found[0]["y"]), ec.SECP256R1())
    try:
        point.public_key().verify(signature, message, ES256)
    except InvalidSignature:
        return False
    return True


class Traffic:
    """Signs with what the Secret says now or said a while ago, and verifies with what it says now or said then.

    `lag`: seconds, how long ago that is at the most.
    """

    def __init__(self, read, *, lag=LAG):
        self._read = read
        self._lag = lag
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="traffic")
        self.tried = 0
        self.refused = []
        self.signers = set()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        self._thread.join()

    def _work(self):
        seen = collections.deque()
        tokens = collections.deque()
        while not self._stop.is_set():
            # The moment before the question: however long the answer took, it is no older than this.
            seen.append((time.monotonic(), self._read()))
            now = time.monotonic()
            while seen and seen[0][0] < now - self._lag:
                seen.popleft()
            if not seen:
                continue
            while tokens and tokens[0][0] < now - TOKEN:
                tokens.popleft()
            message = str(now).encode()
            for _moment, texts in (seen[0], seen[-1]):
                tokens.append((now, *sign(texts["signing.jwk"], message), message))
            self._verify(tokens, (seen[0][1], seen[-1][1]))
            time.sleep(0.05)

    def _verify(self, tokens, readers):
        for _moment, kid, signature, message in (tokens[0], tokens[-1]):
            self.signers.add(kid)
            for texts in readers:
                self.tried += 1
                if not is_good(texts["verifying.jwks"], kid, signature, message):
                    self.refused.append(kid)


@pytest.fixture
def rotated(engine, vault, ref):
    """A project, and a function that rotates its key and returns the outcome."""
    with vault.store() as store:
        assert engine.settle({ref: FREE}, platform=vault.platform(), vault=store).succeeded

    def turn(*, end=False, settle=SETTLE, everyone=False, **settings):
        platform = parse(projects={}, tiers={}, platform=vault.platform()).platform
        with vault.store() as store, engine.client() as client:
            report = rotate(
                Access(client=client, databases=engine.databases, vault=store),
                platform,
                what=What.SIGNING_KEY,
                refs=None if everyone else [ref],
                end_previous=end,
                settle_seconds=settle,
                # Projects of other tests have no secrets in this Vault, and must not hold this one back.
                settings=Settings(timeout_seconds=30.0, wave_failures=1000, **settings),
                progress=Silent(),
            )
        (outcome,) = [one for one in report.outcomes if one.ref == ref]
        return outcome

    return turn


def test_no_token_is_refused_while_the_key_is_rotated_twice(engine, vault, ref, rotated):
    with Traffic(lambda: engine.secret(ref)) as traffic:
        for _turn in range(2):
            for end in (False, False, True):
                time.sleep(LAG + TOKEN)
                while (outcome := rotated(end=end)).result is Result.FAILED:
                    assert "run again then" in outcome.failure.reason
                    time.sleep(0.2)
                assert outcome.result is Result.CHANGED
        time.sleep(LAG)
    assert len(traffic.signers) == 3
    assert traffic.tried > 100
    assert traffic.refused == []
    assert vault.texts(f"database/{engine.record(ref)['status']['uid']}") == engine.secret(ref)


def test_traffic_that_is_rotated_too_fast_is_refused(engine, ref, rotated):
    """What the times are for; and the test above would see it."""
    # So far behind that however long a rotation takes, it is too fast.
    with Traffic(lambda: engine.secret(ref), lag=600.0) as traffic:
        until(lambda: traffic.tried, "nothing is signed")
        assert traffic.refused == []
        for end in (False, False, True):
            assert rotated(end=end, settle=0).result is Result.CHANGED
        until(lambda: traffic.refused, "nothing is refused")


def until(is_so, what):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_key_does_not_sign_before_its_time_nor_end_before_its_tokens(rotated):
    assert rotated().result is Result.CHANGED
    assert "may not have read it" in rotated(settle=None).failure.reason
    assert "does not sign yet" in rotated(end=True).failure.reason
    assert rotated(settle=0).result is Result.CHANGED
    assert "tokens that the key before has signed" in rotated(end=True, settle=None).failure.reason
    assert "end it first with end_previous" in rotated(settle=0).failure.reason
    assert rotated(end=True, settle=0).result is Result.CHANGED
    assert rotated(end=True, settle=0).result is Result.UNCHANGED


def test_of_all_projects_each_takes_the_step_that_is_due_and_a_run_too_soon_takes_none(engine, ref, rotated):
    """So a rotation of all that was killed or held back is finished by the next run, whatever it had done."""
    assert rotated().result is Result.CHANGED
    told = engine.secret(ref)
    assert rotated(everyone=True, settle=None, check=True).result is Result.UNCHANGED
    assert rotated(end=True, everyone=True, check=True).result is Result.UNCHANGED
    assert rotated(settle=0).result is Result.CHANGED
    signed = engine.secret(ref)
    assert rotated(everyone=True, check=True).result is Result.UNCHANGED
    assert rotated(end=True, settle=None, everyone=True, check=True).result is Result.UNCHANGED
    assert engine.secret(ref) == signed != told


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_check_says_what_the_run_would_do_and_writes_nothing(engine, vault, ref, rotated, taken):
    for _turn in range(taken):
        rotated(settle=0)
    before, version = engine.secret(ref), vault.texts(f"database/{engine.record(ref)['status']['uid']}")
    checked = rotated(settle=0, check=True)
    assert (engine.secret(ref), vault.texts(f"database/{engine.record(ref)['status']['uid']}")) == (before, version)
    done = rotated(settle=0)
    assert (checked.result, checked.failure) == (done.result, done.failure)
    assert [step.id for step in checked.steps] == [step.id for step in done.steps]


def test_values_of_a_restored_vault_do_not_replace_newer_ones_that_are_in_use(engine, vault, ref, rotated):
    path = f"database/{engine.record(ref)['status']['uid']}"
    snapshot = vault.texts(path)
    assert rotated().result is Result.CHANGED
    used = engine.secret(ref)
    vault.write(path, snapshot)
    for outcome in (rotated(settle=0), rotated(settle=0, end=True), rotated(settle=0, everyone=True, check=True)):
        assert "is older than the Secret that is in use" in outcome.failure.reason
    assert engine.secret(ref) == used
    # The way back that the message names.
    vault.root.secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point=vault.mount)
    with vault.store() as store:
        assert engine.settle({ref: FREE}, platform=vault.platform(), vault=store).succeeded
    assert vault.texts(path) == used == engine.secret(ref)
    assert rotated(settle=0).result is Result.CHANGED


def test_a_key_that_was_announced_in_vault_only_gets_its_time_anew(engine, vault, ref, rotated):
    """A run that was killed between the two: who verifies has not read it, however long ago that was."""
    path = f"database/{engine.record(ref)['status']['uid']}"
    before = engine.secret(ref)
    assert rotated().result is Result.CHANGED
    vault.write(path, {**vault.texts(path), "signing.since": "1"})
    engine.server.merge(
        f"/api/v1/namespaces/p-{ref}/secrets/credentials",
        {"data": {"verifying.jwks": base64.b64encode(before["verifying.jwks"].encode()).decode()}},
    )
    assert rotated().result is Result.CHANGED
    assert vault.texts(path) == engine.secret(ref)
    assert float(engine.secret(ref)["signing.since"]) > time.time() - 60
    assert "may not have read it" in rotated(settle=None).failure.reason
