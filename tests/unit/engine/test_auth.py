# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's own settings of Auth: what is accepted and kept, and what becomes of it in pods and policies."""

from __future__ import annotations

import doctest
import functools
import ipaddress
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.planning import closed_ways
from ansible_collections.supalove.platform.plugins.module_utils._engine.project import auth as auth_module
from ansible_collections.supalove.platform.plugins.module_utils._engine.project import auth_fields
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.auth_fields import PROVIDERS
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Auth, Mail, Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse, retired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.auth import (
    OWN_DIRECTORY,
    SETTINGS_DIRECTORY,
)
from builders import SHARED, UID, WHOLE_AUTH, a_served_project, live, objects_of, observed, one

sys.path.insert(0, str(Path(__file__).parents[2]))
from lab.services.gotrue import settings

GATEWAY = {"domain": "example.com", "gateway_kind": "gateway"}
PLATFORM = Platform(domain="example.com", gateway_kind="gateway")
HERE = Placement(cluster="one")
MAIL = {"host": "smtp.acme.example", "sender": "no-reply@acme.example"}
GITHUB = {"github": {"client_id": "Iv1.abc"}}


def problems_of(auth: Any, platform: Any = None) -> list[tuple[str, str]]:
    projects = {"acme": {"tier": "t", "auth": auth}}
    with pytest.raises(InvalidSpec) as refused:
        parse(projects=projects, tiers={"t": SHARED}, platform=GATEWAY if platform is None else platform)
    return [(one.path.removeprefix("supalove_projects.acme.auth"), one.allowed) for one in refused.value.problems]


def objects(auth: Any = None, platform: Platform = PLATFORM) -> tuple[Desired, ...]:
    project = a_served_project(**({} if auth is None else {"auth": auth}))
    return objects_of(project, platform=platform, placement=HERE)


def container(auth: Any = None) -> dict[str, Any]:
    (found,) = one("Deployment", "auth", objects(auth))["spec"]["template"]["spec"]["containers"]
    return found


def environment(auth: Any = None) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(auth)["env"] if "value" in each}


def test_examples():
    assert doctest.testmod(auth_fields).failed == doctest.testmod(auth_module).failed == 0
    assert doctest.testmod(auth_fields).attempted > 0


def test_what_is_written_is_what_auth_gets():
    assert a_served_project(auth=WHOLE_AUTH).auth == Auth(
        site_url="https://app.acme.example",
        redirect_urls=("example.acme.app://in", "http://localhost:3000", "https://app.acme.example/**"),
        signup=False,
        anonymous_users=True,
        mail=Mail(
            host="smtp.acme.example", port=465, sender="no-reply@acme.example", user="acme", sender_name="Acme & Söhne"
        ),
        providers=(("github", "Iv1.abc"), ("google", "12-a.apps.googleusercontent.com")),
        secret="auth-own",
    )


@pytest.mark.parametrize("auth", [None, {}, {"signup": True}, {"mail": None, "providers": {}, "redirect_urls": []}])
def test_who_says_nothing_of_auth_has_it_as_before(auth):
    project = a_served_project(auth=auth)
    assert (project.auth, project.spec) == (Auth(), {"tier": "t"})


@pytest.mark.parametrize("auth", [WHOLE_AUTH, {"signup": "no"}, {"mail": MAIL}, {"providers": GITHUB, "secret": "a.b"}])
def test_a_record_keeps_what_is_read_as_the_same_again(auth):
    inventory = parse(projects={"acme": {"tier": "t", "auth": auth}}, tiers={"t": SHARED}, platform=GATEWAY)
    (project,) = inventory.projects
    again = retired("acme", {**project.spec, "managedBy": "inventory"}, inventory.tiers)
    assert (again.auth, again.spec["auth"]) == (project.auth, project.spec["auth"])


def test_a_record_from_before_there_were_settings_of_auth_is_read():
    tiers = parse(projects={}, tiers={"t": SHARED}, platform=GATEWAY).tiers
    assert retired("acme", {"tier": "t", "managedBy": "inventory"}, tiers).auth == Auth()


def test_a_record_says_the_port_that_was_the_default_when_it_was_written():
    assert a_served_project(auth={"mail": MAIL}).spec["auth"] == {"mail": {**MAIL, "port": 587}}


@pytest.mark.parametrize(
    ("auth", "key", "allowed"),
    [
        ([], "", "a mapping"),
        (
            {"singup": True},
            "",
            "a key out of anonymous_users, mail, providers, redirect_urls, secret, signup, site_url",
        ),
        ({"mail": []}, ".mail", "a mapping"),
        ({"mail": {**MAIL, "password": "x"}}, ".mail", "a key out of host, port, sender, sender_name, user"),
        ({"providers": ["github"]}, ".providers", "a mapping from name to settings"),
        ({"providers": {"github": "Iv1"}, "secret": "a"}, ".providers.github", "a mapping"),
        ({"providers": {"github": {"client_id": "a", "secret": "b"}}}, ".providers.github", "a key out of client_id"),
        ({"providers": {"myspace": {}}}, ".providers", "one of apple, azure"),
        ({"providers": {"keycloak": {"client_id": "a"}}}, ".providers", "one of apple, azure"),
        ({"signup": 2}, ".signup", "true or false"),
    ],
)
def test_a_setting_of_auth_that_is_none_is_told(auth, key, allowed):
    told = problems_of(auth)
    assert [(path, allowed in said) for path, said in told if path == key] == [(key, True)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("site_url", value)
            for value in (
                "http://app.acme.example",
                "https://app",
                "https://App.acme.example",
                "https://user@app.acme.example",
                "https://app.acme.example?a=b",
                "https://app.acme.example/$(GOTRUE_SMTP_PASS)",
                "http://localhost.acme.example",
                "javascript:alert(1)",
                f"https://app.acme.example/{'a' * 512}",
                12,
            )
        ),
        *(
            ("redirect_urls", value)
            for value in (
                "https://app.acme.example",
                [1],
                ["https://**"],
                ["https://*"],
                ["https://*.example/**"],
                ["https://**.acme.example"],
                ["https://app.*.example"],
                ["https://a.acme.example,https://b.acme.example"],
                ["https://{a,b}.acme.example"],
                ["https://a.acme.example/[a"],
                ["http://[::1]:3000/**"],
                ["http://app.acme.example"],
                ["myapp://in"],
                ["javascript:alert(1)"],
                ["https://a.acme.example", "https://a.acme.example"],
                [f"https://a{number}.acme.example" for number in range(65)],
            )
        ),
        *(("mail.host", value) for value in (None, "smtp", "192.0.2.7", "Smtp.acme.example", "smtp.acme.example:587")),
        *(("mail.port", value) for value in (0, 65_536, "smtp", True)),
        *(
            ("mail.sender", value)
            for value in (None, "acme", "a@b", "Acme <a@acme.example>", "a@acme.example\n", "a b@c.de")
        ),
        *(
            ("mail.sender_name", value)
            for value in ("", "a" * 65, "Acme\nBcc: x", "$(GOTRUE_SMTP_PASS)", 'a "b"', "<a>")
        ),
        *(("mail.user", value) for value in ("", "a b", "$(X)", "a" * 256, "ü")),
        *(("providers.github.client_id", value) for value in (None, "", "a,b", "$(X)", "a b", "a" * 256)),
        *(("secret", value) for value in ("Auth", "a_b", "", "-a", "credentials", "archive", "a/b")),
    ],
)
def test_a_value_that_auth_cannot_have_is_told_where_it_stands(key, value):
    auth: Any = {**WHOLE_AUTH, "mail": dict(WHOLE_AUTH["mail"]), "providers": {"github": dict(GITHUB["github"])}}
    place = auth
    *way, last = key.split(".")
    for name in way:
        place = place[name]
    place[last] = value
    assert [path for path, _allowed in problems_of(auth)] == [f".{key}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("site_url", "http://127.0.0.1:3000/app"),
        ("site_url", "http://[::1]:3000"),
        ("site_url", "https://acme.example:8443/in%20here"),
        ("redirect_urls", ["https://*-acme.host.example/**", "https://*.acme.example", "https://acme.example/a?b=*&c"]),
        ("redirect_urls", ["http://localhost/**"]),
        ("secret", "auth.own-1"),
    ],
)
def test_a_value_that_auth_can_have_is_taken(key, value):
    found = getattr(a_served_project(auth={**WHOLE_AUTH, key: value}).auth, key)
    assert found == (value if isinstance(value, str) else tuple(sorted(value)))


@pytest.mark.parametrize(
    ("auth", "allowed"),
    [
        ({"mail": {**MAIL, "user": "acme"}}, "the name of the Secret that has smtp.password"),
        ({"providers": GITHUB}, "the name of the Secret that has github.secret"),
        (
            {**WHOLE_AUTH, "secret": None},
            "the name of the Secret that has smtp.password and github.secret and google.secret",
        ),
        ({"secret": "own"}, "nothing, as there is neither mail.user nor a provider"),
        ({"mail": MAIL, "secret": "own"}, "nothing, as there is neither mail.user nor a provider"),
    ],
)
def test_a_secret_is_named_where_there_is_one_and_only_there(auth, allowed):
    ((path, told),) = problems_of(auth)
    assert (path, allowed in told) == (".secret", True)


def test_where_projects_have_no_auth_there_is_nothing_to_set():
    assert problems_of({"signup": False}, {}) == [("", "nothing, as gateway_kind is none and projects have no Auth")]


def test_what_is_wrong_with_auth_is_told_of_all_projects_at_once():
    projects = {
        "acme": {"tier": "t", "auth": {"mail": {"host": "x"}}},
        "blog": {"tier": "t", "auth": {"site_url": "x", "providers": {"x": {}}}},
    }
    with pytest.raises(InvalidSpec) as refused:
        parse(projects=projects, tiers={"t": SHARED}, platform=GATEWAY)
    assert [each.path.removeprefix("supalove_projects.") for each in refused.value.problems] == [
        "acme.auth.mail.host",
        "acme.auth.mail.sender",
        "blog.auth.site_url",
        "blog.auth.providers",
    ]


def test_who_sets_nothing_gets_the_variables_of_all():
    assert container({"signup": True}) == container()


def test_who_signs_up_confirms_an_address_where_there_is_a_mail_server_only():
    assert environment()["GOTRUE_MAILER_AUTOCONFIRM"] == "true"
    assert environment({"mail": MAIL})["GOTRUE_MAILER_AUTOCONFIRM"] == "false"
    assert environment({"providers": GITHUB, "secret": "own"})["GOTRUE_MAILER_AUTOCONFIRM"] == "true"


def test_a_provider_sends_users_back_to_the_projects_own_address():
    found = environment({**WHOLE_AUTH, "site_url": "https://app.acme.example"})
    assert found["GOTRUE_EXTERNAL_GITHUB_REDIRECT_URI"] == "https://acme.example.com/auth/v1/callback"


def pod_of(auth: Any = None) -> dict[str, Any]:
    return one("Deployment", "auth", objects(auth))["spec"]["template"]["spec"]


def run_before(auth: Any, own: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What the container before Auth does with this Secret, in folders of the test's."""
    (adding,) = [each for each in pod_of(auth)["initContainers"] if each["name"] == "own"]
    secrets, settings_, before = folder / "own", folder / "settings", folder / "auth.env"
    for each in (secrets, settings_):
        each.mkdir()
    for key, value in own.items():
        (secrets / key).write_text(value)
    before.write_text(
        "GOTRUE_DB_DATABASE_URL='postgres://a:b@pooler:6432/auth'\nGOTRUE_JWT_SECRET='" + "s" * 32 + "'\n"
    )
    places = {OWN_DIRECTORY: secrets, SETTINGS_DIRECTORY: settings_, "/etc/supalove/service/auth.env": before}
    command = [
        functools.reduce(lambda text, at: text.replace(at, str(places[at])), places, word) for word in adding["command"]
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_secret_is_in_the_environment_of_no_container():
    pod = pod_of(WHOLE_AUTH)
    told = json.dumps([each.get("env") for each in (*pod["initContainers"], *pod["containers"])])
    assert ("valueFrom" in told, "SMTP_PASS" in told, "_SECRET" in told) == (False, False, False)
    assert pod["containers"][0]["command"] == ["auth", "serve", "-c", f"{SETTINGS_DIRECTORY}/auth.env"]
    (memory,) = [each for each in pod["volumes"] if each["name"] == "settings"]
    assert memory["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("key", ["smtp.password", "github.secret", "google.secret"])
@pytest.mark.parametrize("found", ["missing", "", "\n"])
def test_without_one_of_them_auth_does_not_begin_and_it_is_named(key, found, tmp_path):
    own = {**SECRETS, key: found}
    if found == "missing":
        del own[key]
    done = run_before(WHOLE_AUTH, own, tmp_path)
    assert (done.returncode, done.stderr) == (1, f"the Secret auth-own has no {key}\n")


@pytest.mark.parametrize("value", ["it's", "two\nlines", "of Windows\r\n", "ends with \\"])
def test_a_secret_that_the_file_cannot_hold_is_told_and_not_shown(value, tmp_path):
    done = run_before(WHOLE_AUTH, {**SECRETS, "github.secret": value}, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("github.secret in the Secret auth-own has a single quote")
    assert value not in done.stderr


def test_no_value_has_kubernetes_put_a_secret_into_its_place():
    """Kubernetes reads `$(NAME)` in a variable as the variable NAME."""
    assert [name for name, value in environment(WHOLE_AUTH).items() if "$" in value] == []


SECRETS = {"smtp.password": '"$HOME" `x` \\n #', "github.secret": "g\n", "google.secret": "h"}


def gotrue_is_told(command: str, each: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the stand-in for GoTrue, which refuses all that is unknown or half, makes of a container of Auth."""
    for variable in each["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    return settings(command, file, None)


@pytest.mark.parametrize("auth", [{"providers": GITHUB, "secret": "auth-own"}, WHOLE_AUTH])
def test_gotrue_takes_what_it_is_told(auth, tmp_path, monkeypatch):
    pod = pod_of(auth)
    done = run_before(auth, SECRETS, tmp_path)
    assert done.returncode == 0, done.stderr
    migrate = next(each for each in pod["initContainers"] if each["name"] == "migrate")
    assert gotrue_is_told("migrate", migrate, tmp_path / "auth.env", monkeypatch)
    found = gotrue_is_told("serve", pod["containers"][0], tmp_path / "settings/auth.env", monkeypatch)
    assert found["GOTRUE_EXTERNAL_GITHUB_SECRET"] == "g"
    assert found.get("GOTRUE_SMTP_PASS", SECRETS["smtp.password"]) == SECRETS["smtp.password"]
    assert (tmp_path / "settings/auth.env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("auth", [None, {"mail": MAIL}])
def test_gotrue_takes_what_has_no_secret(auth, tmp_path, monkeypatch):
    file = tmp_path / "auth.env"
    file.write_text("GOTRUE_DB_DATABASE_URL='postgres://a:b@pooler:6432/auth'\nGOTRUE_JWT_SECRET='" + "s" * 32 + "'\n")
    assert gotrue_is_told("serve", pod_of(auth)["containers"][0], file, monkeypatch)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_gotrue_knows_every_provider(provider, tmp_path, monkeypatch):
    auth = {"providers": {provider: {"client_id": "a"}}, "secret": "own"}
    assert run_before(auth, {f"{provider}.secret": "s"}, tmp_path).returncode == 0
    found = gotrue_is_told("serve", pod_of(auth)["containers"][0], tmp_path / "settings/auth.env", monkeypatch)
    assert found[f"GOTRUE_EXTERNAL_{provider.upper()}_SECRET"] == "s"


def test_a_project_whose_auth_talks_to_nobody_has_the_two_policies_of_all():
    for auth in (None, {"signup": False, "site_url": "https://acme.example"}):
        names = [each.id.name for each in objects(auth) if each.id.kind == "NetworkPolicy"]
        assert names == ["project", "database"]


@pytest.mark.parametrize(
    ("auth", "ports"),
    [
        ({"mail": MAIL}, [587]),
        ({"providers": GITHUB, "secret": "own"}, [443]),
        (WHOLE_AUTH, [443, 465]),
        ({"mail": {**MAIL, "port": 443}, "providers": GITHUB, "secret": "own"}, [443]),
    ],
)
def test_auth_alone_gets_out_and_to_no_port_but_those_it_needs(auth, ports):
    spec = one("NetworkPolicy", "auth", objects(auth))["spec"]
    assert spec["podSelector"] == {"matchLabels": {"supalove.cloud/component": "auth"}}
    assert spec["policyTypes"] == ["Egress"]
    (rule,) = spec["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port} for port in ports]


@pytest.mark.parametrize(
    "inside",
    ["10.42.1.7", "10.43.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.169.254", "100.100.100.200"],
)
def test_auth_gets_to_no_address_inside_of_the_cluster(inside):
    (peer,) = one("NetworkPolicy", "auth", objects(WHOLE_AUTH))["spec"]["egress"][0]["to"]
    block = peer["ipBlock"]
    assert block["cidr"] == "0.0.0.0/0"
    assert any(ipaddress.ip_address(inside) in ipaddress.ip_network(network) for network in block["except"])


def test_auth_gets_to_the_networks_that_the_platform_names_and_to_no_others():
    platform = replace(PLATFORM, auth_networks=("192.0.2.0/24", "2001:db8::/64"))
    (rule,) = one("NetworkPolicy", "auth", objects(WHOLE_AUTH, platform))["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}, {"ipBlock": {"cidr": "2001:db8::/64"}}]


def a_policy(uid: str = UID) -> Any:
    return replace(live(way_out({"mail": MAIL})), labels={"supalove.cloud/uid": uid})


def way_out(auth: Any) -> Desired:
    (policy,) = [each for each in objects(auth) if (each.id.kind, each.id.name) == ("NetworkPolicy", "auth")]
    return policy


def closed(auth: Any, *there: Any) -> tuple[Desired, ...]:
    return closed_ways(a_served_project(auth=auth), PLATFORM, HERE, UID, observed(*there))


def test_a_way_out_that_auth_needs_no_more_is_closed():
    (policy,) = closed({}, a_policy())
    assert policy.id == way_out({"mail": MAIL}).id
    assert policy.body["spec"] == {
        "podSelector": {"matchLabels": {"supalove.cloud/component": "auth"}},
        "policyTypes": ["Egress"],
    }


@pytest.mark.parametrize(
    ("auth", "there"),
    [({"mail": MAIL}, [a_policy()]), ({}, []), ({}, [a_policy("somebodyelse")])],
)
def test_a_way_out_is_left_where_it_is_needed_or_not_ours(auth, there):
    assert closed(auth, *there) == ()
