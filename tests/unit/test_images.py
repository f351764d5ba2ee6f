# SPDX-License-Identifier: GPL-3.0-or-later
"""The image builder: recipes, keys, and an archive that a container engine reads."""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "images"))

from builder import archive, rootfs  # noqa: E402
from builder.key import binary, key_of  # noqa: E402
from builder.recipe import Check, Config, Recipe, RecipeError, User, load, parse  # noqa: E402

RECIPES = sorted(path.parent for path in REPOSITORY.glob("images/*/recipe.yml")) + sorted(
    path.parent for path in REPOSITORY.glob("tests/lab/images/*/recipe.yml")
)
NAMED = {"name": "example.org/one", "tag": "1"}


@pytest.mark.parametrize("folder", RECIPES, ids=lambda folder: folder.name)
def test_every_recipe_of_the_repository_is_valid(folder: Path) -> None:
    assert load(folder).folder == folder


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "found list, expected a mapping"),
        ({}, "name: is missing"),
        (NAMED | {"pacakges": []}, "unknown key 'pacakges'"),
        (NAMED | {"tag": 17}, "tag: found 17, expected a string"),
        (NAMED | {"name": "Upper/case"}, "name: found 'Upper/case'"),
        (NAMED | {"output": "qcow"}, "output: found 'qcow', allowed: archive, podman"),
        (NAMED | {"debian": {"suites": [], "packages": []}}, "suites: at least one"),
        (NAMED | {"debian": {"suites": ["trixie"]}}, "debian: 'packages'"),
        (NAMED | {"users": {"me": {"uid": "1", "gid": 1, "home": "/"}}}, "users: found '1', expected a number"),
        (NAMED | {"config": {"volumes": []}}, "config: unknown key 'volumes'"),
        (NAMED | {"check": {"command": [], "pattern": "x", "at_least": "1"}}, "needs exactly one group"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_file_and_key(document: object, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(document, Path("images/one"))
    assert told in str(caught.value)
    assert "images/one/recipe.yml" in str(caught.value)


def test_all_faults_of_a_recipe_are_told_together() -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"tag": 1, "nmae": "x"}, Path("one"))
    assert len(str(caught.value).splitlines()) == 3


def a_recipe(folder: Path, *, binaries: tuple[tuple[str, str], ...] = ()) -> Recipe:
    folder.mkdir(parents=True)
    (folder / "recipe.yml").write_text("name: example.org/one\n")
    (folder / "root/bin").mkdir(parents=True)
    (folder / "root/bin/tool").write_text("one\n")
    return Recipe(folder=folder, name="example.org/one", tag="1", binaries=binaries)


def test_the_key_is_the_same_in_another_checkout(tmp_path: Path) -> None:
    assert key_of(a_recipe(tmp_path / "a/one"), {}) == key_of(a_recipe(tmp_path / "b/one"), {})


@pytest.mark.parametrize("change", ["recipe", "content", "mode", "new file", "link"])
def test_the_key_follows_everything_that_goes_in(tmp_path: Path, change: str) -> None:
    recipe = a_recipe(tmp_path / "one")
    before = key_of(recipe, {})
    tool = recipe.files / "bin/tool"
    if change == "recipe":
        (recipe.folder / "recipe.yml").write_text("name: example.org/two\n")
    elif change == "content":
        tool.write_text("two\n")
    elif change == "mode":
        tool.chmod(0o755)
    elif change == "new file":
        (recipe.files / "etc").write_text("")
    else:
        (recipe.files / "bin/link").symlink_to("tool")
    assert key_of(recipe, {}) != before


def test_the_key_follows_the_programs_put_in(tmp_path: Path) -> None:
    recipe = a_recipe(tmp_path / "one", binaries=(("pause", "/pause"),))
    program = tmp_path / "pause"
    program.write_bytes(b"one")
    before = key_of(recipe, {"pause": program})
    program.write_bytes(b"two")
    assert key_of(recipe, {"pause": program}) != before


def test_a_missing_program_is_named_with_the_option_that_gives_it(tmp_path: Path) -> None:
    recipe = a_recipe(tmp_path / "one", binaries=(("pause", "/pause"),))
    with pytest.raises(RecipeError, match="--binary pause=PATH"):
        binary(recipe, {}, "pause")
    with pytest.raises(RecipeError, match="which is no file"):
        binary(recipe, {"pause": tmp_path / "absent"}, "pause")


CHECK = Check(command=("pgbouncer", "--version"), pattern=r"PgBouncer (\S+)", at_least="1.25.2")


def test_a_program_that_is_new_enough_passes_the_check() -> None:
    assert rootfs.checked(CHECK, "PgBouncer 1.26.1\nlibevent") == "1.26.1"


@pytest.mark.parametrize(
    ("output", "told"),
    [("PgBouncer 1.25.1", "version 1.25.1; at least 1.25.2"), ("not found", "printed no version: 'not found'")],
)
def test_a_program_that_is_too_old_or_mute_stops_the_build(output: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        rootfs.checked(CHECK, output)


def test_sources_come_from_the_mirrors_of_this_machine() -> None:
    targets = "Debian-Security http://mirror.example/sec/\nDebian http://mirror.example/debian/\nOther http://other/\n"
    assert rootfs.sources(["forky"], targets) == ["deb http://mirror.example/debian/ forky main"]
    with pytest.raises(RecipeError, match="apt has no Debian-Security repository for trixie-security"):
        rootfs.sources(["trixie-security"], "Debian http://mirror.example/debian/\n")


def test_accounts_exist_with_their_ids_and_a_home(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "var").mkdir()
    user = User(name="one", uid=0, gid=0, home="/var/one")
    subprocess.run(["sh", "-c", rootfs.accounts([user]), "hook", str(tmp_path)], check=True)
    assert (tmp_path / "etc/passwd").read_text() == "one:x:0:0::/var/one:/bin/sh\n"
    assert (tmp_path / "etc/group").read_text() == "one:x:0:\n"
    assert (tmp_path / "var/one").is_dir()


def test_a_removal_cannot_leave_the_tree(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "kept").write_text("")
    recipe = Recipe(folder=tmp_path, name="example.org/one", tag="1", remove=("../outside/*",))
    with pytest.raises(RecipeError, match="leaves the image"):
        rootfs.make(recipe, {}, root, lambda _text: None)
    assert (outside / "kept").exists()


def test_an_archive_holds_one_layer_with_the_digest_that_its_configuration_names(tmp_path: Path) -> None:
    root, layer, target = tmp_path / "root", tmp_path / "layer.tar", tmp_path / "image.tar.zst"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("one\n")
    archive.pack(root, layer)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    archive.write_docker_archive(layer, target, Config(entrypoint=("/bin/tool",)), "example.org/one:1", "amd64")

    plain = tmp_path / "plain.tar"
    subprocess.run(["zstd", "-q", "-d", str(target), "-o", str(plain)], check=True)
    with tarfile.open(plain) as image:
        members = {member.name: image.extractfile(member).read() for member in image}  # type: ignore[union-attr]
    (manifest,) = json.loads(members["manifest.json"])
    config = json.loads(members[manifest["Config"]])
    assert manifest["RepoTags"] == ["example.org/one:1"]
    assert hashlib.sha256(members[manifest["Layers"][0]]).hexdigest() == digest
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert config["config"] == {"Entrypoint": ["/bin/tool"]}


def test_the_configuration_has_every_setting_that_a_recipe_can_give() -> None:
    config = Config(entrypoint=("a",), cmd=("b",), env=(("C", "d"),), user="1:1", workdir="/e", stopsignal="SIGINT")
    created = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    image = archive.config_json(config, diff_id="sha256:0", architecture="arm64", created=created)
    assert image["architecture"] == "arm64"
    assert image["created"] == "2026-01-02T00:00:00Z"
    assert image["config"] == {
        "Entrypoint": ["a"],
        "Cmd": ["b"],
        "Env": ["C=d"],
        "User": "1:1",
        "WorkingDir": "/e",
        "StopSignal": "SIGINT",
    }
