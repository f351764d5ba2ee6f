# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.deadline import Deadline
from ansible_collections.supalove.platform.plugins.module_utils._engine.domain_holders import Claim, Holders
from ansible_collections.supalove.platform.plugins.module_utils._engine.domain_lookups import doubt_of, look_up
from ansible_collections.supalove.platform.plugins.module_utils._engine.domain_states import State, after, told_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.domains import proof_of, unfit
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.domains import (
    Owner,
    domains_selector,
    render_domain_certificate,
    render_domains,
    routes_selector,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Failure
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


@pytest.mark.parametrize("text", ["a" * 65_536, "\x00" * 65_536])
def test_a_strangers_endless_record_is_shown_by_its_beginning(text):
    doubt = doubt_of(proof_of(UID, NAMES[0]), [text] * 4)
    assert repr(text[:90])[1:-1] in doubt
    assert len(doubt) < 1500


def test_resolvers_that_never_answer_leave_the_run_half_of_its_time():
    given = []

    def silent(_name, deadline):
        given.append(deadline.limit_seconds)
        return ()

    look_up([proof_of(UID, NAMES[0])], silent, deadline=Deadline(limit_seconds=900.0), workers=1)
    assert 0 < given[0] <= 450


def test_lookups_whose_time_is_up_are_told_and_end_no_run():
    proofs = [proof_of(UID, name) for name in NAMES]

    def late(name, deadline):
        deadline.require(name)
        return ()

    doubts = look_up(proofs, late, deadline=Deadline(limit_seconds=0.0), workers=1)
    assert {*doubts} == {*proofs}
    for proof, doubt in doubts.items():
        assert doubt.startswith(f"a TXT record of {proof.name} has to say {proof.text}; the DNS did not tell: no time")


def claims(**names):
    """Per project what it is to have, and what it has."""
    return Holders(
        Claim(ref=ref, wanted=frozenset(wanted), held=frozenset(held)) for ref, (wanted, held) in names.items()
    )


@pytest.mark.parametrize(
    ("holders", "order"),
    [
        (claims(b=("x", ""), a=("y", "y")), "ab"),
        (claims(a=("x", ""), b=("", "x")), "ba"),
        (claims(a=("x", ""), b=("y", "x"), c=("", "y")), "cba"),
        (claims(a=("x", "y"), b=("y", "x"), c=("z", "z")), "cab"),
    ],
    ids=["nobody gives", "one gives", "a chain", "a ring"],
)
def test_who_gives_a_name_up_comes_before_whoever_is_to_have_it(holders, order):
    assert "".join(holders.order()) == order


def test_a_name_is_nobody_elses_until_its_holder_has_let_go_of_it():
    holders = claims(giver=(["kept"], ["kept", "moved"]), taker=(["kept", "moved"], []))
    assert holders.claim("moved", "taker") == (
        "moved is still held by the project giver, which is to give it up; run again when it has"
    )
    holders.let_go("giver", ["kept"])
    assert holders.claim("moved", "taker") == ""
    assert holders.claim("kept", "taker") == "kept leads to the project giver; take it from that first"


def test_of_two_that_prove_a_new_name_one_has_it():
    holders = claims(a=("x", ""), b=("x", ""))
    assert [holders.claim("x", ref) for ref in holders.order()] == [
        "",
        "x leads to the project a; take it from that first",
    ]


def test_a_name_is_its_holders_that_wants_it_and_not_his_that_still_shows_it():
    holders = claims(a=("", "x"), b=("x", "x"))
    assert holders.claim("x", "b") == ""


def test_a_name_that_two_still_show_is_free_when_both_have_let_go():
    holders = claims(a=("", "x"), b=("", "x"), c=("x", ""))
    for ref in ("a", "b"):
        assert (
            holders.claim("x", "c")
            == f"x is still held by the project {ref}, which is to give it up; run again when it has"
        )
        holders.let_go(ref, ())
    assert holders.claim("x", "c") == ""


def test_of_a_project_that_failed_no_name_is_told_as_served():
    told = told_of("acme", UID, NAMES, {NAMES[1]: (State.UNVERIFIED, "there is none")})
    failure = Failure(step="create", object="Gateway/a/b", reason="it is being deleted")
    assert [(one.state, one.message) for one in after(failure, told)] == [
        ("failed", "Gateway/a/b: it is being deleted"),
        ("unverified", "there is none"),
    ]
    assert after(None, told) == told


@pytest.mark.parametrize(
    "name",
    ["../../etc", "*.example.org", "API.example.org", "example", "192.0.2.1", "", "example.com", "api.example.com"],
)
def test_what_a_directory_a_listener_or_the_platform_would_stumble_over_is_no_name(name):
    assert unfit(name, PLATFORM)
    assert not unfit("api.example.org", PLATFORM)


def test_what_is_made_is_found_again_by_the_selectors():
    for kind, selector in (("Gateway", domains_selector(PLATFORM)), ("HTTPRoute", routes_selector())):
        labels = rendered(kind)["metadata"]["labels"]
        for part in selector.split(","):
            key, _equals, value = part.partition("=")
            assert labels[key] == value or not value


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
