# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins for GoTrue and PostgREST refuse every setting that is not as their contract says."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lab.services import postgrest_api, settings
from lab.services.settings import Unusable, contract

EC = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "one"}
SIGNING = {**EC, "d": "AA", "key_ops": ["sign", "verify"]}
OCT = {"kty": "oct", "k": "AA", "kid": "old", "key_ops": ["verify"]}
SECRET = "s" * 32
GOOD: Mapping[str, dict[str, str]] = {
    "gotrue": {
        "GOTRUE_DB_DRIVER": "postgres",
        "GOTRUE_DB_DATABASE_URL": "postgres://auth:pass@pooler:6432/app",
        "GOTRUE_DB_MAX_POOL_SIZE": "3",
        "GOTRUE_JWT_SECRET": SECRET,
        "GOTRUE_JWT_KEYS": json.dumps([SIGNING, OCT]),
        "API_EXTERNAL_URL": "https://acme.example.com/auth/v1",
        "GOTRUE_SITE_URL": "https://acme.example.com",
        "GOTRUE_METRICS_EXPORTER": "prometheus",
        "GOTRUE_EXTERNAL_GITHUB_ENABLED": "true",
        "GOTRUE_EXTERNAL_GITHUB_CLIENT_ID": "abc",
        "GOTRUE_EXTERNAL_GITHUB_SECRET": "def",
        "GOTRUE_EXTERNAL_GITHUB_REDIRECT_URI": "https://acme.example.com/auth/v1/callback",
        "GOTRUE_SMTP_HOST": "smtp.example.com",
        "GOTRUE_SMTP_ADMIN_EMAIL": "no-reply@example.com",
        "GOTRUE_SMTP_USER": "acme",
        "GOTRUE_SMTP_PASS": "pass",
    },
    "postgrest": {
        "PGRST_DB_URI": "@/etc/supalove/rest/uri",
        "PGRST_JWT_SECRET": json.dumps({"keys": [EC, OCT]}),
        "PGRST_DB_CONFIG": "false",
        "PGRST_APP_SETTINGS_JWT_EXP": "3600",
    },
}
BAD = {
    "int": ("three", ""),
    "bool": ("yes", ""),
    "duration": ("10", "1 h"),
    "url": ("acme.example.com", "ftp://x"),
    "uri": ("mysql://a@b/c", "postgres://host", ""),
    "keys": (
        "{}",
        "x",
        json.dumps([EC]),
        json.dumps([SIGNING, {**SIGNING, "kid": "two"}]),
        json.dumps([{"kty": "RSA"}]),
    ),
    "secret": ("short", "{", json.dumps({"keys": []}), json.dumps({"kty": "RSA"})),
}


def variables() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for service in GOOD:
        yield from ((service, name, line) for name, line in contract(service)["variables"].items())


def read(service: str, **changed: str | None) -> dict[str, str]:
    given = {**GOOD[service], **changed}
    return settings.read(service, "serve", {name: value for name, value in given.items() if value is not None})


def test_examples() -> None:
    assert doctest.testmod(postgrest_api).failed == 0


@pytest.mark.parametrize("service", GOOD)
def test_good_settings_are_read_with_the_defaults_of_the_contract(service: str) -> None:
    found = read(service)
    defaults = {
        name: line["default"] for _service, name, line in variables() if "default" in line and name.startswith("PGRST")
    }
    assert GOOD[service].items() <= found.items()
    assert service == "gotrue" or defaults.keys() <= found.keys()


@pytest.mark.parametrize("service", GOOD)
def test_every_line_of_the_contract_has_a_source(service: str) -> None:
    for part in ("variables", "paths", "answers", "image", "behaviour"):
        assert [name for name, line in contract(service)[part].items() if not line["source"]] == []
    types = {line["type"] for line in contract(service)["variables"].values()}
    assert types <= settings.FORMS.keys()


@pytest.mark.parametrize(("service", "name"), [(s, n) for s, n, line in variables() if "serve" in line.get("need", ())])
def test_a_missing_variable_is_named(service: str, name: str) -> None:
    for value in (None, ""):
        with pytest.raises(Unusable, match=rf"{name}: "):
            read(service, **{name: value})


@pytest.mark.parametrize(
    ("service", "name", "value"), [(s, n, v) for s, n, line in variables() for v in BAD.get(line["type"], ())]
)
def test_a_malformed_variable_is_named_and_no_secret_is_shown(service: str, name: str, value: str) -> None:
    with pytest.raises(Unusable, match=rf"(?m)^{name}: ") as caught:
        read(service, **{name: value})
    hidden = contract(service)["variables"][name].get("hidden", False)
    assert not (hidden and value) or value not in str(caught.value)


@pytest.mark.parametrize(("service", "name"), [(s, n) for s, n, line in variables() if "choices" in line])
def test_what_the_stand_in_cannot_do_is_refused(service: str, name: str) -> None:
    line = contract(service)["variables"][name]
    other = ("false" if line["choices"] == ["true"] else "true") if line["type"] == "bool" else "another"
    with pytest.raises(Unusable, match=rf"{name}: '{other}' is not one of"):
        read(service, **{name: other})


@pytest.mark.parametrize(
    ("service", "name", "least"), [(s, n, x["minimum"]) for s, n, x in variables() if "minimum" in x]
)
def test_a_number_has_its_lowest(service: str, name: str, least: int) -> None:
    with pytest.raises(Unusable, match=rf"{name}: '{least - 1}' is less than {least}"):
        read(service, **{name: str(least - 1)})


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("gotrue", "GOTRUE_DB_POOL_SIZE"),
        ("gotrue", "API_URL"),
        ("gotrue", "GOTRUE_EXTERNAL_MYSPACE_ENABLED"),
        ("postgrest", "PGRST_DB_USE_LEGACY_GUCS"),
        ("postgrest", "PGRST_MAX_ROWS"),
        ("postgrest", "PGHOST"),
    ],
)
def test_an_unknown_variable_is_refused(service: str, name: str) -> None:
    with pytest.raises(Unusable, match=f"{name}: is not a variable of {service}"):
        read(service, **{name: "1"})


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        *((f"GOTRUE_EXTERNAL_GITHUB_{what}", "GITHUB_ENABLED") for what in ("CLIENT_ID", "SECRET", "REDIRECT_URI")),
        ("GOTRUE_SMTP_PASS", "SMTP_USER"),
        ("GOTRUE_SMTP_HOST", "SMTP_USER"),
        ("GOTRUE_SMTP_ADMIN_EMAIL", "SMTP_HOST"),
    ],
)
def test_half_of_what_belongs_together_is_refused(name: str, beside: str) -> None:
    for value in (None, ""):
        with pytest.raises(Unusable, match=rf"(?m)^{name}: is missing beside GOTRUE_(EXTERNAL_)?{beside}$"):
            read("gotrue", **{name: value})


def test_what_is_not_enabled_needs_nothing_beside_it() -> None:
    read("gotrue", GOTRUE_EXTERNAL_GITHUB_ENABLED="false", GOTRUE_EXTERNAL_GITHUB_SECRET=None)
    none = dict.fromkeys(name for name in GOOD["gotrue"] if "_SMTP_" in name)
    read("gotrue", **none)
    given = {name: value for name, value in GOOD["gotrue"].items() if name != "GOTRUE_SMTP_PASS"}
    assert settings.read("gotrue", "migrate", given)["GOTRUE_SMTP_USER"] == "acme"


def test_variables_of_others_are_none_of_its_business() -> None:
    read("gotrue", PATH="/bin", AUTH_PORT="tcp://10.43.0.1:9999")


def test_all_faults_are_told_together() -> None:
    with pytest.raises(Unusable) as caught:
        read("gotrue", GOTRUE_SITE_URL=None, GOTRUE_DB_MAX_POOL_SIZE="0", GOTRUE_TYPO="x")
    assert len(str(caught.value).splitlines()) == 3


def test_the_channel_and_statements_are_allowed_where_nothing_is_said_of_a_pool() -> None:
    assert read("postgrest")["PGRST_DB_CHANNEL_ENABLED"] == "true"


@pytest.mark.parametrize("line", ['A="quoted"', "A=$B", "A=a b", "A = b", "A='it's'", "lower=1"])
def test_a_line_that_godotenv_would_expand_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "auth.env"
    file.write_text(f"# a comment\nFIRST=1\n{line}\n")
    with pytest.raises(Unusable, match="line 3 is not"):
        settings.read_env_file(file)


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "auth.env"
    file.write_text(
        """GOTRUE_JWT_KEYS='[{"k":"a$b#c"}]'\nexport GOTRUE_SITE_URL=https://x.example:8443/a?b=c%20d&e\n\n"""
    )
    assert settings.read_env_file(file) == {
        "GOTRUE_JWT_KEYS": '[{"k":"a$b#c"}]',
        "GOTRUE_SITE_URL": "https://x.example:8443/a?b=c%20d&e",
    }


@pytest.mark.parametrize(
    ("claims", "audience", "fault"),
    [
        ({}, "", ""),
        ({"exp": 980}, "", ""),
        ({"exp": 969}, "", "JWT expired"),
        ({"exp": "never"}, "", "The JWT 'exp' claim must be a number"),
        ({"nbf": 1031}, "", "JWT not yet valid"),
        ({"iat": 1031}, "", "JWT issued at future"),
        ({"aud": "authenticated"}, "authenticated", ""),
        ({"aud": ["a", "authenticated"]}, "authenticated", ""),
        ({}, "authenticated", ""),
        ({"aud": "other"}, "authenticated", "JWT not in audience"),
    ],
)
def test_claims_are_judged_with_half_a_minute_of_tolerance(claims: dict[str, Any], audience: str, fault: str) -> None:
    assert postgrest_api.claims_fault(claims, audience, 1000) == fault
