# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.filter.mirror_plan import mirror_plan
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES

SITE = "registry.example.com:5000/mirror"
MANIFEST = "{}\n"
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
OTHER = f"sha256:{'0' * 64}"
HAS = {"rc": 0, "stdout": MANIFEST}
LACKS = {"rc": 1, "stdout": "", "stderr": "manifest unknown"}
NOT_ASKED = {"skipped": True}
REST = IMAGES["rest"]


def plan(image: str = REST, *, registry: str = SITE, **given: Any) -> dict[str, Any]:
    """What becomes of one image."""
    (one,) = mirror_plan({"images": {"rest": image}}, registry=registry, only=["rest"], **given)
    return one


@pytest.mark.parametrize(
    ("image", "source", "target"),
    [
        ("docker.io/postgrest/postgrest:v1", "docker.io/postgrest/postgrest:v1", "postgrest/postgrest:v1"),
        ("traefik:v3", "docker.io/library/traefik:v3", "library/traefik:v3"),
        ("localhost/a:1", "localhost/a:1", "a:1"),
        (f"quay.io/a/b:1@{OTHER}", f"quay.io/a/b@{OTHER}", "a/b:1"),
        (f"quay.io/a/b@{OTHER}", f"quay.io/a/b@{OTHER}", f"a/b:{OTHER.replace(':', '-')}"),
    ],
)
def test_an_image_keeps_its_path_and_tag_below_the_sites_registry(image: str, source: str, target: str) -> None:
    found = plan(image)
    assert (found["source"], found["target"]) == (f"docker://{source}", f"{SITE}/{target}")


def test_a_digest_is_that_of_the_manifest_that_was_read_and_what_was_read_is_copied() -> None:
    found = plan(there=[LACKS], found=[HAS])
    assert found["image"] == f"{SITE}/postgrest/postgrest:v14.17@{DIGEST}"
    assert found["source"] == f"docker://docker.io/postgrest/postgrest@{DIGEST}"
    assert found["copies"]
    assert not plan(there=[HAS], found=[HAS])["copies"]


def test_before_anything_was_read_there_is_no_digest_and_the_source_is_asked() -> None:
    found = plan()
    assert (found["digest"], found["image"], found["asks"]) == ("", f"{SITE}/postgrest/postgrest:v14.17", True)


def test_a_source_is_not_asked_for_a_digest_that_the_site_has() -> None:
    image = f"docker.io/postgrest/postgrest:v14.17@{DIGEST}"
    assert plan(image)["there"] == f"docker://{SITE}/postgrest/postgrest@{DIGEST}"
    assert not plan(image, there=[HAS])["asks"]
    assert not plan(image, there=[HAS], found=[NOT_ASKED])["copies"]
    assert plan(image, there=[LACKS])["asks"]


@pytest.mark.parametrize(
    ("tag", "source"),
    [("v14.17", f"docker://docker.io/postgrest/postgrest@{DIGEST}"), ("v1", "")],
    ids=["the default's", "another"],
)
def test_an_image_that_is_in_the_sites_registry_already_comes_from_where_its_default_does(
    tag: str, source: str
) -> None:
    found = plan(f"{SITE}/postgrest/postgrest:{tag}@{DIGEST}", there=[LACKS])
    assert (found["source"], found["lost"]) == (source, not source)


def test_an_image_without_a_source_is_as_the_site_has_it() -> None:
    found = plan(f"{SITE}/own/rest:1", there=[HAS], found=[NOT_ASKED])
    assert (found["image"], found["lost"], found["copies"]) == (f"{SITE}/own/rest:1@{DIGEST}", False, False)


def test_a_named_source_wins_and_the_digest_of_the_inventory_goes_with_it() -> None:
    found = plan(f"{SITE}/own/rest:1@{OTHER}", sources={"rest": "quay.io/x/rest:1"})
    assert found["source"] == f"docker://quay.io/x/rest@{OTHER}"
    assert found["target"] == f"{SITE}/own/rest:1"


def test_a_registry_with_the_same_beginning_is_another() -> None:
    found = plan("registry.example.com:5000/mirrored/rest:1")
    assert found["target"] == f"{SITE}/mirrored/rest:1"


def test_archives_are_compared_by_their_configuration_and_named_by_what_the_site_made_of_them() -> None:
    given: dict[str, Any] = {"archives": {"rest": "/x.tar.zst"}, "found": [HAS]}
    found = plan(there=[LACKS], **given)
    assert (found["source"], found["read"]) == ("docker-archive:/x.tar.zst", ("--config", "--raw"))
    assert (found["copies"], found["digest"]) == (True, "")
    done = plan(there=[HAS], kept=[{"rc": 0, "stdout": "other"}], **given)
    assert not done["copies"]
    assert done["digest"] == f"sha256:{hashlib.sha256(b'other').hexdigest()}"


def test_without_a_choice_the_images_are_those_that_the_platform_uses() -> None:
    assert [one["name"] for one in mirror_plan({}, registry=SITE)] == ["pgbouncer", "postgresql"]


def test_two_images_that_would_overwrite_each_other_are_refused() -> None:
    images = {"rest": "quay.io/a/b:1", "auth": "docker.io/a/b:1"}
    with pytest.raises(AnsibleFilterError, match=f"auth and rest would both be {SITE}/a/b:1"):
        mirror_plan({"images": images}, registry=SITE, only=["rest", "auth"])


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        mirror_plan(
            {},
            registry="registry",
            only=["nginx"],
            sources={"rest": "quay.io/a/b:latest"},
            archives={"rest": "/x.tar.zst"},
        )
    told = str(caught.value)
    assert "registry: found 'registry', allowed: an address such as" in told
    assert "only: found 'nginx', allowed: archiver, auth, pgbouncer" in told
    assert "sources.rest: found 'quay.io/a/b:latest', allowed: an image with a tag other than latest" in told
    assert "sources.rest: found a source, allowed: nothing, as archives names it, too" in told


def test_a_platform_that_is_wrong_is_refused_as_everywhere() -> None:
    with pytest.raises(AnsibleFilterError, match=r"supalove_platform\.images\.rest"):
        plan("rest:latest")
