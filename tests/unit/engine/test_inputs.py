# SPDX-License-Identifier: GPL-3.0-or-later
"""Equal digests mean equal objects; a digest that misses a cause would leave projects as they were for good."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import canonical_json
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import render
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.inputs import Inputs
from builders import DEDICATED, FREE, OVERRIDES, PRO, UID, WHOLE_AUTH, a_project, a_served_project, a_shared_project
from hypothesis import given
from hypothesis import strategies as st

HERE, THERE = Placement(cluster="one"), Placement(cluster="two")
PLATFORM = Platform()
SERVED = replace(PLATFORM, domain="example.com", gateway_kind="gateway")
ROUTED = replace(SERVED, gateway_kind="route", gateway_unchecked_keys_accepted=True)


def digest(project: Any, *, placement: Placement = DEDICATED, platform: Platform = PLATFORM, by: str = "s") -> str:
    return Inputs(platform, render).digest(project, placement, UID, by, 14)


@pytest.mark.parametrize(
    "other",
    [
        {"project": a_project(storage="2Gi")},
        {"project": a_project(clients=999)},
        {"project": a_project("other")},
        {"project": a_project(state="absent")},
        {"project": a_project(tier={"runtime_class": "gvisor"})},
        {"platform": replace(PLATFORM, images={**PLATFORM.images, "pgbouncer": "x:1"})},
        {"platform": replace(PLATFORM, storage_class="fast")},
        {"project": a_served_project(tier={**FREE, "overrides": OVERRIDES}), "platform": SERVED},
        {"project": a_served_project(tier={**FREE, "overrides": OVERRIDES}), "platform": ROUTED},
        {"by": "another"},
    ],
)
def test_what_changes_an_object_changes_the_digest(other):
    assert digest(**{"project": a_project(), **other}) != digest(a_project())


def test_another_gateway_is_another_digest():
    project = a_served_project(tier={**FREE, "overrides": OVERRIDES})
    assert digest(project, platform=SERVED) != digest(project, platform=ROUTED)


AUTHS = [
    {},
    WHOLE_AUTH,
    {**WHOLE_AUTH, "site_url": "https://acme.example"},
    {**WHOLE_AUTH, "redirect_urls": ["https://acme.example"]},
    {**WHOLE_AUTH, "signup": True},
    {**WHOLE_AUTH, "anonymous_users": False},
    {**WHOLE_AUTH, "mail": {**WHOLE_AUTH["mail"], "port": 587}},
    {**WHOLE_AUTH, "mail": {**WHOLE_AUTH["mail"], "user": None}},
    {**WHOLE_AUTH, "providers": {"google": {"client_id": "x"}}},
    {**WHOLE_AUTH, "secret": "other"},
]


def test_projects_of_a_tier_that_differ_in_a_setting_of_auth_have_different_digests():
    inputs = Inputs(SERVED, render)
    told = [inputs.digest(a_served_project(auth=auth), HERE, UID, "s", 14) for auth in AUTHS]
    assert len({*told}) == len(AUTHS)


@pytest.mark.parametrize("word", ["_SMTP_SENDER_NAME", "_SMTP_PASS", "_URI_ALLOW_LIST", "_CLIENT_ID", "0.0.0.0/0"])
def test_what_another_version_writes_otherwise_for_a_setting_of_auth_changes_the_digest(word):
    def other(*given):
        return tuple(
            replace(one, body=json.loads(canonical_json(one.body).replace(word, "OTHER"))) for one in render(*given)
        )

    project = a_served_project(auth=WHOLE_AUTH)
    one, another = (Inputs(SERVED, way).digest(project, HERE, UID, "s", 14) for way in (render, other))
    assert one != another


def test_settings_of_auth_of_one_shape_are_rendered_once():
    count = 0

    def counting(*given):
        nonlocal count
        count += 1
        return render(*given)

    inputs = Inputs(SERVED, counting)
    for ref in ("acme", "blog"):
        auth = {**WHOLE_AUTH, "site_url": f"https://{ref}.example.org"}
        inputs.digest(a_served_project(ref, auth=auth), HERE, UID, "s", 14)
    assert count == 1


def test_another_cluster_is_another_digest():
    assert digest(a_shared_project(), placement=HERE) != digest(a_shared_project(), placement=THERE)


def test_another_number_of_certified_objects_is_another_digest():
    one, other = (Inputs(PLATFORM, render).digest(a_project(), DEDICATED, UID, "s", count) for count in (13, 14))
    assert one != other


def test_what_changes_no_object_changes_no_digest():
    assert digest(a_project(canary=True)) == digest(a_project())


sizes = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.sampled_from(["256Mi", "512Mi"]),
        "connections": st.integers(20, 22),
        "clients": st.integers(400, 402),
        "state": st.sampled_from(["present", "absent"]),
        "canary": st.booleans(),
    },
)


@given(sizes, sizes, st.sampled_from([None, PRO]))
def test_equal_digests_mean_equal_objects(one, other, tier):
    first, second = (a_project(tier=tier, **spec) if tier is None else a_project(tier={**PRO}) for spec in (one, other))
    same = render(first, PLATFORM, DEDICATED, UID, "s") == render(second, PLATFORM, DEDICATED, UID, "s")
    assert (digest(first) == digest(second)) is same
