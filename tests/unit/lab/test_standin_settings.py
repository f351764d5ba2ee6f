# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in reads configuration as K3s does and refuses what K3s refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lab.standin import contract, settings


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml.d").mkdir()
    return tmp_path / "config.yaml"


def load(etc: Path, command: str, config: object, *argv: str, **environ: str) -> settings.Settings:
    etc.write_text(yaml.safe_dump(config))
    return settings.load(command, ["--config", str(etc), *argv], environ)


AGENT = {"server": "https://192.0.2.1:6443", "token": "t"}


def test_defaults_are_those_of_the_contract(etc: Path) -> None:
    loaded = load(etc, "server", {})
    assert loaded["cluster-cidr"] == "10.42.0.0/16"
    assert loaded["disable"] == []


def test_a_later_drop_in_wins_and_a_plus_appends(etc: Path) -> None:
    (etc.parent / "config.yaml.d/10-a.yaml").write_text("cluster-domain: one\ntls-san+: [b]\n")
    (etc.parent / "config.yaml.d/20-b.yaml").write_text("cluster-domain: two\ntls-san+: c\n")
    (etc.parent / "config.yaml.d/30-c.txt").write_text("cluster-domain: no\n")
    loaded = load(etc, "server", {"cluster-domain": "zero", "tls-san": ["a"]})
    assert loaded["cluster-domain"] == "two"
    assert loaded["tls-san"] == ["a", "b", "c"]


def test_the_file_wins_over_the_environment_and_flags_win_over_both(etc: Path) -> None:
    assert load(etc, "agent", AGENT, K3S_TOKEN="env")["token"] == "t"
    assert load(etc, "agent", {"server": "x"}, K3S_TOKEN="env")["token"] == "env"
    loaded = load(etc, "agent", AGENT | {"kubelet-arg": ["a=1", "b=2"]}, "--kubelet-arg", "c=3")
    assert loaded["kubelet-arg"] == ["c=3"]


def test_an_unknown_key_is_skipped_by_the_server_with_a_warning(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(etc, "server", {"cluster-cdir": "10.0.0.0/16"})
    assert "Unknown flag --cluster-cdir found in config.yaml, skipping" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "config", "text"),
    [
        ("agent", AGENT | {"cluster-cidr": "10.0.0.0/16"}, "flag provided but not defined: -cluster-cidr"),
        ("agent", {"server": "x"}, "--token is required"),
        ("agent", {"token": "x"}, "--server is required"),
        ("agent", AGENT | {"node-label": ["node-role.kubernetes.io/db=true"]}, "node-role.kubernetes.io/db"),
        ("server", {"node-label": ["x.k8s.io/pool=a"]}, "x.k8s.io/pool"),
        ("server", {"secrets-encryption": "maybe"}, 'invalid boolean value "maybe" for -secrets-encryption'),
        ("server", {"disable": ["trafik"]}, "'trafik' is not one of"),
        ("server", {"selinux": True}, "does not implement selinux"),
        ("server", ["a"], "expected a mapping"),
    ],
)
def test_what_k3s_would_not_start_with_is_refused(etc: Path, command: str, config: object, text: str) -> None:
    with pytest.raises(settings.Refused, match=text.replace("(", r"\(")):
        load(etc, command, config)


@pytest.mark.parametrize("label", ["node.supalove.cloud/data-plane", "plain", "topology.kubernetes.io/zone"])
def test_labels_a_node_may_give_itself(label: str) -> None:
    assert not settings.is_reserved(label)


def test_critical_settings_differ_when_a_cidr_or_servicelb_does(etc: Path) -> None:
    base = load(etc, "server", {}).critical()
    assert base != load(etc, "server", {"service-cidr": "10.99.0.0/16"}).critical()
    assert base != load(etc, "server", {"disable": ["servicelb"]}).critical()
    assert base == load(etc, "server", {"tls-san": ["a"], "disable": ["traefik"]}).critical()


def test_every_key_of_the_contract_has_a_source_and_is_acted_on_refused_or_excused() -> None:
    code = "".join(path.read_text() for path in Path(contract.__file__).parent.glob("*.py"))
    for command in ("server", "agent"):
        for name, key in contract.keys(command).items():
            assert key.source
            base = name.removesuffix("-file")
            assert not key.acts or key.lacks or any(f'"{word}"' in code for word in (name, base)), name


def test_every_message_of_the_contract_is_used() -> None:
    code = "".join(path.read_text() for path in Path(contract.__file__).parent.glob("*.py"))
    assert [name for name in contract.message_names() if f'"{name}"' not in code] == []
