# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server that misbehaves as told, over real HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import threading
import time

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine import errors
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import connect
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.wait import await_ready
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Backoff, Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import ObjectId

OK = (200, {}, {"kind": "ConfigMap"})
HANG = "hang up"


@dataclasses.dataclass
class Script:
    """What the server answers, one entry per request; the last one for ever."""

    answers: list
    times: list = dataclasses.field(default_factory=list)
    url: str = ""


@pytest.fixture
def script():
    script = Script(answers=[OK])

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            script.times.append(time.monotonic())
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if answer is HANG:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, body = answer
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args):
            pass

        def finish(self):
            with contextlib.suppress(ValueError, OSError):
                super().finish()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(script, tmp_path):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": script.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    backoff = Backoff(first_seconds=0.05, longest_seconds=0.1, tries=3)
    with connect(kubeconfig=str(path), context=None, workers=2, backoff=backoff) as client:
        yield client


@pytest.fixture
def get(client):
    def get(subject="ConfigMap/a/b", seconds=10.0):
        return client.get("/api/v1/x", subject=subject, deadline=Deadline(limit_seconds=seconds))

    return get


def test_a_server_that_asks_for_patience_gets_as_much_as_it_asked_for(script, get):
    script.answers = [(429, {"Retry-After": "1"}, {"message": "slow down"}), OK]
    assert get() == {"kind": "ConfigMap"}
    assert script.times[1] - script.times[0] >= 1.0


@pytest.mark.parametrize("fault", [HANG, (500, {}, {}), (503, {}, {})])
def test_a_passing_fault_is_not_noticed(script, get, fault):
    script.answers = [fault, fault, OK]
    assert get() == {"kind": "ConfigMap"}


@pytest.mark.parametrize("refusal", [403, 422])
def test_what_a_server_refuses_that_has_just_come_back_is_asked_again(script, get, refusal):
    script.answers = [HANG, (refusal, {}, {"message": "forbidden"}), OK]
    assert get() == {"kind": "ConfigMap"}


def test_a_refusal_that_stays_after_the_server_came_back_is_told_in_its_words(script, get):
    script.answers = [HANG, (403, {}, {"message": "you may not"})]
    with pytest.raises(errors.BackendError, match=r"you may not .HTTP 403."):
        get()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Rejected),
        (401, errors.Denied),
        (403, errors.Denied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.Expired),
        (422, errors.Rejected),
    ],
)
def test_a_refusal_is_translated_once_and_not_repeated(script, get, status, kind):
    script.answers = [(status, {}, {"message": "why"})]
    with pytest.raises(kind, match=f"GET ConfigMap/a/b: why .HTTP {status}."):
        get()
    assert len(script.times) == 1


def test_after_the_last_try_the_status_is_kept(script, get):
    script.answers = [(500, {}, b"not even JSON")]
    with pytest.raises(errors.ServerFailed) as caught:
        get()
    assert (caught.value.status, len(script.times)) == (500, 3)


def test_a_server_that_is_gone_is_unreachable(script, get):
    script.answers = [HANG]
    with pytest.raises(errors.Unreachable, match="GET ConfigMap/a/b"):
        get()


def test_the_servers_words_are_cut(script, get):
    script.answers = [(400, {}, {"message": "x" * 10_000})]
    with pytest.raises(errors.Rejected) as caught:
        get()
    assert len(str(caught.value)) < 400


def test_what_the_server_says_about_a_secret_is_not_repeated(script, get):
    script.answers = [(422, {}, {"message": "Invalid value: hunter2", "reason": "Invalid"})]
    with pytest.raises(errors.Rejected) as caught:
        get(subject="Secret/a/b")
    assert "hunter2" not in str(caught.value)
    assert "Invalid" in str(caught.value)


def page(*names, following=""):
    return 200, {}, {"items": [{"name": name} for name in names], "metadata": {"continue": following}}


GONE = (410, {}, {"message": "The provided continue parameter is too old"})


def all_of(client):
    found = client.list("/api/v1/x", subject="ConfigMap", deadline=Deadline(limit_seconds=10), query={})
    return [item["name"] for item in found]


def test_a_list_whose_point_in_time_is_forgotten_between_two_pages_begins_anew_and_has_nothing_twice(script, client):
    script.answers = [page("a", following="x"), GONE, page("a", following="y"), page("b")]
    assert all_of(client) == ["a", "b"]


def test_a_list_that_can_never_be_read_to_its_end_is_an_error(script, client):
    script.answers = [page("a", following="x"), GONE] * 3
    with pytest.raises(errors.Expired, match="too old"):
        all_of(client)
    assert len(script.times) == 6


def test_nothing_is_sent_after_the_deadline(script, get):
    with pytest.raises(errors.DeadlineExceeded, match="No time left for GET ConfigMap/a/b"):
        get(seconds=0)
    assert script.times == []


def test_a_kubeconfig_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(errors.EngineError, match=r"No access to a cluster by kubeconfig .*missing"):
        connect(kubeconfig=str(tmp_path / "missing"), context=None, workers=1, backoff=Backoff())


NO_CERTIFICATE = """
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://x", certificate-authority-data: "a"}}]
users: [{name: u, user: {}}]
"""


@pytest.mark.parametrize(
    "text",
    [
        "a: [b",
        "[1, 2]",
        "clusters: 7",
        NO_CERTIFICATE,
    ],
)
def test_a_kubeconfig_that_is_none_is_one_clear_error(tmp_path, text):
    (tmp_path / "config").write_text(text)
    with pytest.raises(errors.EngineError, match="No access to a cluster by kubeconfig"):
        connect(kubeconfig=str(tmp_path / "config"), context=None, workers=1, backoff=Backoff())


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[]"])
def test_an_answer_that_is_no_object_is_an_error_of_the_server(script, get, body):
    script.answers = [(200, {}, body)]
    with pytest.raises(errors.ServerFailed, match="GET ConfigMap/a/b: the answer is not an object in JSON"):
        get()


def test_a_watch_that_is_not_allowed_ends_the_waiting_and_says_so(script, client):
    script.answers = [(403, {}, {"message": "deployments is forbidden"})]
    id = ObjectId(kind="Deployment", namespace="p-a", name="pooler")
    began = time.monotonic()
    answers = await_ready(client, [id], deadline=Deadline(limit_seconds=30), progress=lambda _done, _total: None)
    assert time.monotonic() - began < 5
    assert "deployments is forbidden" in answers[id].reason


def test_a_watch_that_is_throttled_is_opened_again_when_the_server_said(script, client):
    script.answers = [(200, {}, {"items": [], "metadata": {"resourceVersion": "1"}}), (429, {"Retry-After": "3"}, {})]
    id = ObjectId(kind="Deployment", name="pooler")
    await_ready(client, [id], deadline=Deadline(limit_seconds=2.5), progress=lambda _done, _total: None)
    assert len(script.times) == 2


def test_a_watch_that_gets_nonsense_goes_on_until_the_deadline_and_says_so(script, client):
    script.answers = [(200, {}, b"<html>sign in</html>")]
    id = ObjectId(kind="Deployment", namespace="p-a", name="pooler")
    answers = await_ready(client, [id], deadline=Deadline(limit_seconds=2), progress=lambda _done, _total: None)
    assert "Deployment" in answers[id].reason
    assert "(" in answers[id].reason
