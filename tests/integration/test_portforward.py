# SPDX-License-Identifier: GPL-3.0-or-later
"""From the engine to a shared cluster as in production: API server, kubelet, the pod's loopback."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.portforward import tunnel
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql.clusters import (
    through_api_server,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    DeadlineExceeded,
    Denied,
    NotFound,
    Unreachable,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import Observed
from fix_engine import Engine
from fix_postgresql import deadline

pytestmark = pytest.mark.usefixtures("kubelet")
PLACE = {"namespace": "s-main", "pod": "postgresql-0", "port": 5432}


def test_a_cluster_is_observed_through_the_api_server_and_no_thread_is_left(engine):
    with engine.client() as client, through_api_server(client) as clusters:
        found = clusters.observe(["main"], deadline=deadline())["main"]
        again = clusters.observe(["main"], deadline=deadline())["main"]
    assert isinstance(found, Observed), found
    assert again == found
    assert clusters.reads == 2
    assert not [one.name for one in threading.enumerate() if one.name.startswith(("tunnel", "deadline"))]


def test_a_tunnel_is_a_socket_in_a_directory_of_our_own_that_goes_with_it(engine):
    with engine.client() as client, tunnel(client, **PLACE, deadline=deadline()) as way:
        assert stat.S_IMODE(way.directory.stat().st_mode) == 0o700
        assert os.listdir(way.directory) == [".s.PGSQL.5432"]
    assert not way.directory.exists()
    assert not way.is_alive()


def test_a_long_path_of_temporary_files_does_not_matter(engine, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with engine.client() as client, tunnel(client, **PLACE, deadline=deadline()) as way:
        assert len(str(way.directory)) < 60


def test_many_bytes_pass_both_ways(engine, kubelet, monkeypatch):
    here, there = socket.socketpair()
    monkeypatch.setattr(kubelet, "connect", lambda _port: there)
    data = os.urandom(3_000_000)
    with (
        engine.client() as client,
        tunnel(client, **PLACE, deadline=deadline()) as way,
        socket.socket(socket.AF_UNIX) as peer,
        here,
    ):
        peer.connect(str(way.directory / ".s.PGSQL.5432"))
        for source, sink in ((peer, here), (here, peer)):
            sender = threading.Thread(target=source.sendall, args=(data,))
            sender.start()
            assert read(sink, len(data)) == data
            sender.join()


def read(source, size):
    found = b""
    while len(found) < size:
        found += source.recv(65536)
    return found


def test_a_pod_that_does_not_listen_yet_is_unreachable_and_says_so(engine, kubelet, monkeypatch):
    def refuse(_port):
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(kubelet, "connect", refuse)
    with engine.client() as client, through_api_server(client) as clusters:
        error = clusters.observe(["main"], deadline=deadline())["main"]
    assert isinstance(error, Unreachable)
    assert "error forwarding port 5432: connection refused" in error.reason


@pytest.mark.parametrize(
    ("place", "expected", "text"),
    [
        ({"pod": "postgresql-1"}, NotFound, 'CONNECT Pod/s-main/postgresql-1 port 5432: pods "postgresql-1" not found'),
        ({"namespace": "kube-system"}, NotFound, "HTTP 404"),
    ],
)
def test_a_pod_that_is_not_there_is_not_found(engine, place, expected, text):
    with engine.client() as client, pytest.raises(expected, match=text):
        open_tunnel(client, deadline(), **place)


def open_tunnel(client, limit, **place):
    with tunnel(client, **{**PLACE, **place}, deadline=limit):
        pass


def test_an_identity_without_the_right_is_denied(engine, api_server):
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/engine"
    role = api_server.request("GET", path)
    rules = [rule for rule in role["rules"] if "pods/portforward" not in rule["resources"]]
    try:
        api_server.request("PUT", path, {**role, "rules": rules, "metadata": {"name": "engine"}})
        with engine.client() as client, pytest.raises(Denied) as caught:
            open_until_refused(client)
        assert caught.value.status == 403
    finally:
        api_server.request(
            "PUT", path, {"metadata": {"name": "engine"}, **{k: role[k] for k in ("apiVersion", "kind", "rules")}}
        )
        with engine.client() as client:
            open_until_allowed(client)


def open_until_refused(client):
    """The API server's authorizer hears of a new role a moment later."""
    limit = deadline(30)
    while True:
        open_tunnel(client, limit)


def open_until_allowed(client):
    """As late as it hears of a role without the right, it hears of the one that tests after this one need."""
    limit = deadline(30)
    while True:
        try:
            return open_tunnel(client, limit)
        except Denied:
            limit.require("a tunnel with the role that was put back")
            time.sleep(0.1)


def test_a_tunnel_without_time_is_not_begun(engine):
    with engine.client() as client, pytest.raises(DeadlineExceeded):
        open_tunnel(client, deadline(0))


def test_a_node_lost_in_the_middle_is_survived_by_the_next_statement(engine, kubelet):
    with engine.client() as client, through_api_server(client) as clusters:
        first = clusters.observe(["main"], deadline=deadline())["main"]
        kubelet.cut()
        assert clusters.observe(["main"], deadline=deadline())["main"] == first


def test_an_api_server_that_is_gone_is_unreachable_for_each_cluster_by_itself(proxied):
    engine, proxy = proxied
    proxy.stop()
    assert isinstance(engine, Engine)
    with engine.client() as client, through_api_server(client) as clusters:
        found = clusters.observe(["main", "other"], deadline=deadline(3))
    assert {type(one) for one in found.values()} <= {Unreachable, DeadlineExceeded}
    assert list(found) == ["main", "other"]
