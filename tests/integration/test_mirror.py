# SPDX-License-Identifier: GPL-3.0-or-later
"""images/mirror.yml with the real skopeo between two real registries."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fix_registry import LOGIN, Registry, layout, tar_of

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "images"))

from builder import archive  # noqa: E402
from builder.recipe import Config  # noqa: E402

NAME = "supabase/gotrue"
# Whatever is not `auth` would come from a registry that nobody reaches.
ONLY = {"supalove_mirror_only": ["auth"]}

Mirror = Callable[..., tuple[int, str]]


@pytest.fixture
def mirror(tmp_path: Path, public_registry: Registry, site_registry: Registry) -> Mirror:
    """Run the playbook; exit code and output as one line."""
    certificates, authfile = tmp_path / "certificates", tmp_path / "auth.json"
    certificates.mkdir()
    certificates.joinpath("ca.crt").write_bytes((site_registry.folder / "ca.crt").read_bytes())
    login = {"auths": {site_registry.address: {"auth": base64.b64encode(LOGIN.encode()).decode()}}}
    authfile.write_text(json.dumps(login))
    given = {
        "supalove_mirror_registry": site_registry.address,
        "supalove_mirror_authfile": str(authfile),
        "supalove_mirror_source_tls_verify": False,
        "supalove_mirror_target_cert_dir": str(certificates),
        "supalove_mirror_retries": 0,
        **platform_with(auth=f"{public_registry.address}/{NAME}:v1"),
        **ONLY,
    }

    def run(*options: str, **more: Any) -> tuple[int, str]:
        done = subprocess.run(
            [
                "ansible-playbook",
                "--inventory=localhost,",
                f"--extra-vars={json.dumps({**given, **more})}",
                *options,
                str(REPOSITORY / "images/mirror.yml"),
            ],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


def platform_with(**images: str) -> dict[str, Any]:
    return {"supalove_platform": {"images": images}}


def push(folder: Path, registry: Registry, text: str, tag: str = "v1") -> str:
    """Put a tiny image into the public registry; its digest."""
    digest = layout(folder / f"layout-{text}", text)
    source, target = f"oci:{folder / f'layout-{text}'}", f"docker://{registry.address}/{NAME}:{tag}"
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false", source, target],
        check=True,
    )
    return digest


def changes(output: str) -> int:
    (found,) = re.findall(r"changed=([0-9]+)", output)
    return int(found)


def test_a_copy_has_the_digest_of_its_source_and_a_second_run_sends_nothing(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    digest = push(tmp_path, public_registry, "one")
    code, output = mirror()
    assert (code, changes(output)) == (0, 1), output
    assert f'" auth: {site_registry.address}/{NAME}:v1@{digest}"' in output
    wanted = public_registry.manifest(NAME, "v1")
    assert wanted == site_registry.manifest(NAME, "v1") == site_registry.manifest(NAME, digest)
    before = site_registry.writes()
    assert before > 0
    code, output = mirror()
    assert (code, changes(output)) == (0, 0), output
    assert f"{NAME}:v1@{digest}" in output
    assert site_registry.writes() == before


def test_a_check_says_what_would_be_copied_and_sends_nothing(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    digest = push(tmp_path, public_registry, "one")
    code, output = mirror("--check")
    assert (code, changes(output)) == (0, 1), output
    assert f"{NAME}@{digest} would be copied to {site_registry.address}/{NAME}:v1" in output
    assert (site_registry.writes(), site_registry.manifest(NAME, "v1")) == (0, None)
    assert mirror()[0] == 0
    code, output = mirror("--check")
    assert (code, changes(output)) == (0, 0), output


def test_a_tag_that_was_moved_is_copied_anew_and_a_digest_is_not(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    first = push(tmp_path, public_registry, "one")
    assert mirror()[0] == 0
    second = push(tmp_path, public_registry, "two")
    pinned = platform_with(auth=f"{public_registry.address}/{NAME}:v1@{first}")
    assert changes(mirror(**pinned)[1]) == 0
    code, output = mirror()
    assert (code, changes(output)) == (0, 1), output
    assert f"{NAME}:v1@{second}" in output
    assert site_registry.manifest(NAME, "v1") == site_registry.manifest(NAME, second)


def test_with_the_printed_lines_in_the_inventory_the_public_registry_is_not_asked(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    digest = push(tmp_path, public_registry, "one")
    assert mirror()[0] == 0
    public_registry.program.stop()
    own = platform_with(auth=f"{site_registry.address}/{NAME}:v1@{digest}")
    code, output = mirror(**own)
    assert (code, changes(output)) == (0, 0), output
    public_registry.program.start()


def test_an_image_that_the_site_has_lost_comes_from_the_source_that_is_named(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    digest = push(tmp_path, public_registry, "one")
    own = platform_with(auth=f"{site_registry.address}/{NAME}:v1@{digest}")
    code, output = mirror(**own)
    assert (code, changes(output)) == (2, 0), output
    assert f"does not have {site_registry.address}/{NAME}:v1@{digest}, and nothing says where they come from" in output
    code, output = mirror(**own, supalove_mirror_sources={"auth": f"{public_registry.address}/{NAME}:v1"})
    assert (code, changes(output)) == (0, 1), output
    assert site_registry.manifest(NAME, digest) == public_registry.manifest(NAME, "v1")


def test_an_archive_of_ours_is_pushed_once_and_gets_the_digest_that_the_registry_has(
    tmp_path: Path, mirror: Mirror, site_registry: Registry
) -> None:
    layer, file = tmp_path / "layer.tar", tmp_path / "postgresql-abc.tar.zst"
    layer.write_bytes(tar_of("one"))
    archive.write_docker_archive(layer, file, Config(cmd=("/x",)), "registry.example/platform/postgresql:17-5", "amd64")
    own = {"supalove_mirror_only": ["postgresql"], "supalove_mirror_archives": {"postgresql": str(file)}}
    code, output = mirror(**own)
    assert (code, changes(output)) == (0, 1), output
    printed = rf'" postgresql: {site_registry.address}/(\S+):(\S+)@(sha256:[0-9a-f]+)"'
    ((name, tag, digest),) = re.findall(printed, output)
    assert site_registry.manifest(name, tag) == site_registry.manifest(name, digest) is not None
    code, output = mirror(**own)
    assert (code, changes(output)) == (0, 0), output
    assert f"{name}:{tag}@{digest}" in output


def test_all_that_cannot_be_worked_with_is_told_before_anything_is_read(tmp_path: Path, mirror: Mirror) -> None:
    code, output = mirror(
        supalove_mirror_skopeo="/nowhere/skopeo",
        supalove_mirror_authfile=str(tmp_path / "none"),
        supalove_mirror_target_cert_dir=str(tmp_path / "neither"),
    )
    assert code == 2
    assert "Nothing was copied:" in output
    assert "/nowhere/skopeo does not run on the controller" in output
    assert "Install the package skopeo, or set supalove_mirror_skopeo" in output
    assert f"{tmp_path}/none is no file." in output
    assert f"{tmp_path}/neither is no directory." in output


def test_a_skopeo_that_does_not_keep_digests_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    program = tmp_path / "skopeo"
    program.write_text("#!/bin/sh\necho skopeo version 1.5.2\n")
    program.chmod(0o755)
    code, output = mirror(supalove_mirror_skopeo=str(program))
    assert code == 2
    assert "skopeo is of version 1.5.2; at least 1.6.0 is needed" in output


def test_a_site_that_refuses_the_login_is_not_taken_for_one_that_lacks_the_image(
    tmp_path: Path, mirror: Mirror, public_registry: Registry, site_registry: Registry
) -> None:
    push(tmp_path, public_registry, "one")
    authfile = tmp_path / "empty.json"
    authfile.write_text("{}")
    code, output = mirror(supalove_mirror_authfile=str(authfile))
    assert code == 2
    assert "authentication required" in output
    assert "Read what the sources have" not in output
    assert site_registry.writes() == 0


def test_an_argument_of_the_wrong_type_or_none_is_refused(mirror: Mirror) -> None:
    code, output = mirror(supalove_mirror_retries="often", supalove_mirror_sources=["auth"])
    assert code == 2
    assert "supalove_mirror_retries" in output
    assert "supalove_mirror_sources" in output
