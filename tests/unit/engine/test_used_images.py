# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.images import (
    image_from,
    images_by_tag,
    used_images,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse

DIGEST = f"sha256:{'0' * 64}"


def a_platform(**said):
    return parse(projects={}, tiers={}, platform={"domain": "example.com", **said}).platform


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ({}, {"postgresql", "pgbouncer"}),
        ({"object_store_endpoint": "https://192.0.2.1:8333"}, {"postgresql", "pgbouncer", "archiver"}),
        ({"gateway_kind": "gateway"}, {*IMAGES} - {"archiver"}),
        (
            {"gateway_kind": "route", "gateway_unchecked_keys_accepted": True},
            {"postgresql", "pgbouncer", "auth", "rest"},
        ),
    ],
)
def test_images_are_used_by_what_the_platform_has(said, used):
    assert set(used_images(a_platform(**said))) == used


def test_only_images_in_use_without_a_digest_are_named_by_tag():
    images = {"postgresql": f"registry.example.com/postgresql:17@{DIGEST}", "pgbouncer": f"pgbouncer@{DIGEST}"}
    assert images_by_tag(a_platform(images=images)) == {}
    assert images_by_tag(a_platform(images={**images, "postgresql": "registry.example.com:5000/a:1"})) == {
        "postgresql": "registry.example.com:5000/a:1"
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("traefik:v3", ("docker.io", "library/traefik", "v3", "")),
        ("supabase/gotrue:v2", ("docker.io", "supabase/gotrue", "v2", "")),
        ("registry.example.com:5000/a:1", ("registry.example.com:5000", "a", "1", "")),
        (f"localhost/a/b:1@{DIGEST}", ("localhost", "a/b", "1", DIGEST)),
        (f"127.0.0.1:5000/a/b@{DIGEST}", ("127.0.0.1:5000", "a/b", "", DIGEST)),
    ],
)
def test_an_images_name_is_read_as_container_runtimes_read_it(text, parts):
    image = image_from(text)
    assert (image.registry, image.repository, image.tag, image.digest) == parts
