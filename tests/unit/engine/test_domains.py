# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.domains import doubt_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.domains import proof_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.domains import (
    Owner,
    render_domain_certificate,
    render_domains,
)
from builders import UID, a_served_project, objects_of, one

PLATFORM = Platform(domain="example.com", gateway_kind="gateway")
OWNER = Owner(ref="acme", uid=UID, namespace_uid="made")
NAMES = ("api.example.org", "www.example.org")


def rendered(kind):
    (found,) = [each.body for each in render_domains(PLATFORM, OWNER, {*NAMES}) if each.id.kind == kind]
    return found


def test_a_proof_is_of_one_project_and_one_name():
    proofs = {proof_of(uid, name) for uid in (UID, "2345abcdefgh") for name in NAMES}
    assert len({proof.text for proof in proofs}) == 4
    # What people have entered into their DNS cannot be taken back.
    assert proof_of(UID, NAMES[0]).text == "supalove-verification=f3349cec4c49e3c5c6cb71fb9a58e25b"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "found: there is none"),
        (["v=spf1 -all"], "found: 'v=spf1 -all'"),
        (["a", "b", "c", "d"], "found: 'a', 'b', 'c'"),
        ([f"{proof_of(UID, NAMES[0]).text} "], "found: 'supalove-verification="),
        ([proof_of(UID, NAMES[0]).text.upper()], "found: 'SUPALOVE-VERIFICATION="),
        ([proof_of(UID, NAMES[1]).text], "found: 'supalove-verification="),
    ],
    ids=["none", "another's", "many", "longer", "in capitals", "of another name"],
)
def test_what_proves_nothing_is_told_with_what_would(texts, said):
    proof = proof_of(UID, NAMES[0])
    doubt = doubt_of(proof, texts)
    assert doubt.startswith(f"a TXT record of _supalove.api.example.org has to say {proof.text}; ")
    assert doubt.partition("; ")[2].startswith(said)


def test_one_record_of_several_is_a_proof():
    proof = proof_of(UID, NAMES[0])
    assert doubt_of(proof, ["v=spf1 -all", proof.text]) == ""


def test_no_name_needs_nothing():
    assert render_domains(PLATFORM, OWNER, ()) == ()


def test_a_listener_is_of_one_name_and_lets_in_one_namespace():
    listeners = rendered("Gateway")["spec"]["listeners"]
    assert [(each["name"], each["hostname"]) for each in listeners] == [(name, name) for name in NAMES]
    for each in listeners:
        selector = each["allowedRoutes"]["namespaces"]["selector"]
        assert selector == {"matchLabels": {"kubernetes.io/metadata.name": "p-acme"}}
        (certificate,) = each["tls"]["certificateRefs"]
        assert certificate["name"] == render_domain_certificate(PLATFORM, OWNER, each["name"], "digest").id.name


def test_the_route_has_the_rules_of_the_projects_own_name():
    own = one(
        "HTTPRoute", "project", objects_of(a_served_project(), platform=PLATFORM, placement=Placement(cluster="one"))
    )
    route = rendered("HTTPRoute")
    assert route["spec"]["rules"] == own["spec"]["rules"]
    assert route["spec"]["hostnames"] == [*NAMES]
    assert route["spec"]["parentRefs"] == [{"name": "p-acme", "namespace": "supalove-system-gateway"}]
    assert route["metadata"]["namespace"] == own["metadata"]["namespace"]


def test_what_lies_with_the_gateway_goes_with_the_projects_namespace():
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "p-acme", "uid": "made"}
    for body in (rendered("Gateway"), render_domain_certificate(PLATFORM, OWNER, NAMES[0], "digest").body):
        assert body["metadata"]["namespace"] == "supalove-system-gateway"
        assert body["metadata"]["ownerReferences"] == [owner]


def test_a_secret_of_a_name_tells_a_renewed_certificate_and_has_no_values():
    first, second = (render_domain_certificate(PLATFORM, OWNER, NAMES[0], digest) for digest in ("one", "two"))
    assert (first.id, first.body["type"]) == (second.id, "kubernetes.io/tls")
    assert first.fingerprint != second.fingerprint
    assert "data" not in first.body
