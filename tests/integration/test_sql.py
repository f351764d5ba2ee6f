# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL from outside: libpq, and the real Traefik, PgBouncer and PostgreSQL with what the engine renders for them."""

from __future__ import annotations

import base64
import contextlib
import secrets
import ssl
import threading
import time

import psycopg
import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.access import Access
from ansible_collections.supalove.platform.plugins.module_utils._engine.authority import (
    AUTHORITY,
    DAY_SECONDS,
    LEAF,
    LEAF_KEY,
    certified,
    term_of,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.credentials import USERLIST
from ansible_collections.supalove.platform.plugins.module_utils._engine.keeper import Keeper
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.pooler_certificate import keep_certificate
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Ref
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import PORTS, POSTGRESQL
from ansible_collections.supalove.platform.plugins.module_utils._engine.rotate_logins import renew_login
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action, Step
from fix_gateway import DOMAIN
from fix_kubelet import NODE
from fix_postgresql import deadline
from fix_served import REF
from standin_databases import MemoryDatabases

HOST = f"{REF}.{DOMAIN}"
SECRET = f"/api/v1/namespaces/p-{REF}/secrets/credentials"
PODS = f"/api/v1/namespaces/p-{REF}/pods"


@pytest.fixture
def authority(pooler, tmp_path):
    """The file that a developer keeps."""
    path = tmp_path / "acme.crt"
    path.write_text(pooler.texts[AUTHORITY])
    return path


@pytest.fixture
def reached(gateway, pooler, authority):
    """Traefik has the route, and the pooler has started."""
    end = time.monotonic() + 20
    while True:
        try:
            with gateway.session(pooler, authority):
                return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_a_client_reaches_its_own_project_and_verifies_it(gateway, pooler, authority, negotiation):
    with gateway.session(pooler, authority, sslnegotiation=negotiation) as session:
        (row,) = session.execute("SELECT current_database(), current_user").fetchall()
        assert row == (pooler.database, f"{pooler.database}_owner")
        assert session.pgconn.ssl_in_use


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize("whose", ["another project's", "the gateway's"])
def test_another_authority_verifies_nothing(gateway, pooler, tmp_path, whose):
    other = certified({}, host=f"other.{DOMAIN}", now=time.time(), random_bytes=secrets.token_bytes)
    path = tmp_path / "other.crt"
    path.write_text(other[AUTHORITY] if whose == "another project's" else gateway.authority.pem)
    with (
        pytest.raises(psycopg.OperationalError, match="certificate verify failed"),
        gateway.session(pooler, path),
    ):
        pass


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize("host", [f"other.{DOMAIN}", "acme.elsewhere.test"])
def test_a_name_without_a_route_leads_nowhere(gateway, pooler, authority, host):
    with (
        pytest.raises(psycopg.OperationalError, match=r"(?i)eof|closed|reset"),
        gateway.session(pooler, authority, host=host),
    ):
        pass


@pytest.mark.usefixtures("reached")
def test_a_client_without_tls_gets_nowhere(gateway, pooler, authority):
    with pytest.raises(psycopg.OperationalError), gateway.session(pooler, authority, sslmode="disable"):
        pass


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize(
    ("database", "login"), [("pgbouncer", "pauser"), ("rest", "rest"), ("auth", "auth"), ("migrate", "auth")]
)
def test_nobody_from_outside_gets_to_the_console_or_in_as_a_service(gateway, pooler, authority, database, login):
    """Even with the right password."""
    who = {"user": pooler.texts[f"{login}.user"], "password": pooler.texts[f"{login}.password"]}
    with (
        pytest.raises(psycopg.OperationalError, match="no authentication method is found"),
        gateway.session(pooler, authority, dbname=database, **who),
    ):
        pass


@pytest.mark.usefixtures("reached")
def test_inside_of_the_cluster_a_client_needs_no_tls(pooler):
    with contextlib.closing(pooler.shared.server.connect_inside(6432)) as made:
        # PostgreSQL's manual, "Message Formats": a startup of version 3.0 that names nobody.
        made.sendall(bytes.fromhex("0000000900030000" + "00"))
        assert b"no username supplied" in made.recv(1000)


@contextlib.contextmanager
def kubelet_sync(server, pooler):
    """Writes what the pooler mounts of the Secret once the pod was touched, as a kubelet does."""
    over = threading.Event()

    def marks():
        return server.request("GET", f"{PODS}/pooler-1")["metadata"].get("annotations")

    before = marks()

    def work():
        while marks() == before:
            if over.wait(0.1):
                return
        data = server.request("GET", SECRET)["data"]
        for name in (USERLIST, LEAF, LEAF_KEY):
            (pooler.directory / "pooler/userlist" / name).write_bytes(base64.b64decode(data[name]))

    thread = threading.Thread(target=work, name="sync")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def aging(gateway, pooler):
    """The project's pod and Secret on the API server; the certificate in it has three months left."""
    old = certified(
        {name: pooler.texts[name] for name in (AUTHORITY, "authority.key")},
        host=HOST,
        now=time.time() - 275 * DAY_SECONDS,
        random_bytes=secrets.token_bytes,
    )
    data = {key: base64.b64encode(text.encode()).decode() for key, text in {**pooler.texts, **old}.items()}
    gateway.server.request("POST", SECRET.rpartition("/")[0], {"metadata": {"name": "credentials"}, "data": data})
    spec = {"nodeName": NODE, "containers": [{"name": "pooler", "image": "none"}]}
    labels = {"supalove.cloud/project": REF, "supalove.cloud/component": "pooler"}
    gateway.server.request("POST", PODS, {"metadata": {"name": "pooler-1", "labels": labels}, "spec": spec})
    gateway.server.merge(f"{PODS}/pooler-1/status", {"status": {"phase": "Running"}})
    return old


def secret(gateway):
    data = gateway.server.request("GET", SECRET)["data"]
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def shown(gateway, authority):
    """The certificate that a client sees."""
    with gateway.connection(PORTS[POSTGRESQL]) as made:
        # PostgreSQL's manual, "Message Formats", SSLRequest.
        made.sendall(bytes.fromhex("0000000804d2162f"))
        assert made.recv(1) == b"S"
        with ssl.create_default_context(cafile=str(authority)).wrap_socket(made, server_hostname=HOST) as encrypted:
            return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True))


@contextlib.contextmanager
def keeping(gateway, pooler):
    with gateway.client() as client:
        access = Access(client=client, databases=MemoryDatabases())
        yield Keeper(access=access, ref=Ref(REF), uid=pooler.uid, deadline=deadline(), reason="it ends")


def keep(gateway, pooler):
    body = {"kind": "Certificate", "metadata": {"name": "pooler", "namespace": f"p-{REF}"}, "spec": {"host": HOST}}
    step = Step(action=Action.UPDATE, id=Desired(body=body).id, reason="", desired=Desired(body=body), before=None)
    with keeping(gateway, pooler) as keeper:
        return keep_certificate(keeper, step, secret_uid="made", serves=True)


@pytest.mark.usefixtures("kubelet", "reached")
def test_a_renewed_certificate_is_shown_without_a_session_lost_and_the_old_file_verifies_it(
    gateway, pooler, authority, aging
):
    with gateway.session(pooler, authority) as before:
        before.execute("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1")
        with kubelet_sync(gateway.server, pooler):
            applied = keep(gateway, pooler)
        assert applied.changed
        assert applied.live.version.endswith(f" {HOST}")
        texts = secret(gateway)
        assert texts[LEAF] not in (aging[LEAF], pooler.texts[LEAF])
        assert term_of(texts) == applied.live.version
        assert texts[AUTHORITY] == pooler.texts[AUTHORITY]
        assert shown(gateway, authority) == texts[LEAF]
        assert before.execute("SELECT 1").fetchall() == [(1,)]
        with gateway.session(pooler, authority) as after:
            assert after.execute("SELECT 1").fetchall() == [(1,)]
    assert not keep(gateway, pooler).changed


@pytest.mark.usefixtures("kubelet", "reached", "aging")
def test_a_rotated_login_gets_in_from_outside_and_the_one_before_it_too(gateway, pooler, authority):
    with kubelet_sync(gateway.server, pooler), keeping(gateway, pooler) as keeper:
        renew_login(keeper, None)
    texts = secret(gateway)
    assert texts["owner.user"] != pooler.texts["owner.user"]
    for user, password in ((one["owner.user"], one["owner.password"]) for one in (texts, pooler.texts)):
        with gateway.session(pooler, authority, user=user, password=password) as session:
            assert session.execute("SELECT 1").fetchall() == [(1,)]
