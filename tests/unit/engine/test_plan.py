# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.plan import (
    Stamp,
    doubtful,
    plan_object,
    plan_objects,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import (
    Desired,
    Exact,
    ObjectId,
    comparable,
    differences,
    fingerprint,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.observed import NOTHING
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.names import Uid
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Action
from builders import UID, a_project, live, objects_of, observed, one, stamps_of
from hypothesis import given
from hypothesis import strategies as st

OTHER_UID = Uid("zzzzzzzz2345")


def after_apply(objects, **how):
    return observed(*(live(desired, **how) for desired in objects))


def the(kind, name="pooler"):
    return next(each for each in objects_of() if (each.id.kind, each.id.name) == (kind, name))


def changed(desired, path, value):
    body = copy.deepcopy(desired.body)
    *parents, last = path
    place = body
    for key in parents:
        place = place[key]
    place[last] = value
    return Desired(body=body, generates=desired.generates)


def test_on_an_empty_cluster_everything_is_created_in_order():
    plan = plan_objects(objects_of(), NOTHING)
    assert [step.id for step in plan.steps] == [desired.id for desired in objects_of()]
    assert {step.action for step in plan.steps} == {Action.CREATE}
    assert plan.steps[0].id.kind == "Namespace"


@given(with_body=st.booleans(), storage=st.sampled_from(["1Gi", "2Gi"]), connections=st.integers(5, 1000))
def test_the_plan_after_apply_is_empty(with_body, storage, connections):
    objects = objects_of(a_project(storage=storage, connections=connections))
    plan = plan_objects(objects, after_apply(objects, with_body=with_body))
    assert plan.steps == ()
    assert plan.unchanged == len(objects)


@given(st.randoms())
def test_the_order_of_what_was_observed_does_not_matter(random):
    objects = list(objects_of())
    missing = objects.pop(3)
    random.shuffle(objects)
    (step,) = plan_objects(objects_of(), after_apply(objects)).steps
    assert (step.action, step.id) == (Action.CREATE, missing.id)


def test_what_others_changed_is_repaired_and_the_reason_says_so():
    desired = the("Deployment")
    step = plan_object(desired, live(desired, spec={**desired.body["spec"], "replicas": 3}))
    assert step.action is Action.UPDATE
    assert step.reason == "spec.replicas is 3, wanted is 1 (changed by others)"


def test_what_the_user_changed_is_not_blamed_on_others():
    before, after = the("Deployment"), changed(the("Deployment"), ("spec", "replicas"), 2)
    assert plan_object(after, live(before)).reason == "spec.replicas is 1, wanted is 2"


def test_a_rule_too_many_in_a_policy_is_a_difference():
    desired = the("NetworkPolicy", "project")
    spec = {**desired.body["spec"], "ingress": [*desired.body["spec"]["ingress"], {}]}
    assert plan_object(desired, live(desired, spec=spec)).action is Action.UPDATE


def edited(desired, *path, **changes):
    """The spec with `changes` merged into what is found at `path`."""
    spec = copy.deepcopy(desired.body["spec"])
    place = spec
    for key in path:
        place = place[key]
    place.update(changes)
    return spec


POD = ("template", "spec")


@pytest.mark.parametrize(
    ("kind", "name", "path", "change", "where"),
    [
        ("NetworkPolicy", "project", (), {"podSelector": {"matchLabels": {"a": "b"}}}, "spec.podSelector"),
        (
            "NetworkPolicy",
            "project",
            ("ingress", 0, "from", 0),
            {"namespaceSelector": {}},
            "spec.ingress[0].from[0].namespaceSelector",
        ),
        (
            "NetworkPolicy",
            "project",
            ("ingress", 0, "ports", 0),
            {"endPort": 65535},
            "spec.ingress[0].ports[0].endPort",
        ),
        ("ResourceQuota", "project", (), {"scopes": ["BestEffort"]}, "spec.scopes"),
        ("ResourceQuota", "project", ("hard",), {"count/jobs.batch": "9"}, "spec.hard.count/jobs.batch"),
        ("Service", "pooler", ("selector",), {"a": "b"}, "spec.selector.a"),
        ("Service", "postgresql", (), {"externalIPs": ["10.0.0.1"]}, "spec.externalIPs"),
        ("StatefulSet", "postgresql", POD, {"hostNetwork": True}, "spec.template.spec.hostNetwork"),
        ("StatefulSet", "postgresql", (*POD, "containers", 0), {"command": ["sh"]}, "containers[0].command"),
        ("Deployment", "pooler", POD, {"initContainers": [{"name": "x"}]}, "spec.template.spec.initContainers"),
    ],
)
def test_what_others_add_where_it_opens_something_is_a_difference(kind, name, path, change, where):
    desired = the(kind, name)
    step = plan_object(desired, live(desired, spec=edited(desired, *path, **change)))
    assert step.action is Action.UPDATE
    assert where in step.reason
    assert step.before != desired.body


def test_an_empty_selector_that_is_gone_is_a_difference():
    desired = the("NetworkPolicy", "project")
    spec = copy.deepcopy(desired.body["spec"])
    del spec["ingress"][0]["from"][0]["podSelector"]
    assert "podSelector" in plan_object(desired, live(desired, spec=spec)).reason


def test_a_restart_by_kubectl_is_no_difference():
    desired = the("Deployment")
    meta = desired.body["spec"]["template"]["metadata"]
    annotations = {**meta["annotations"], "kubectl.kubernetes.io/restartedAt": "now"}
    assert (
        plan_object(desired, live(desired, spec=edited(desired, "template", "metadata", annotations=annotations)))
        is None
    )


def test_what_the_server_adds_is_no_difference():
    desired = the("Service")
    spec = {**desired.body["spec"], "clusterIP": "10.43.0.7", "sessionAffinity": "None"}
    assert plan_object(desired, live(desired, spec=spec, status={"loadBalancer": {}})) is None


def test_a_fingerprint_that_somebody_removed_is_put_back():
    desired = the("ConfigMap")
    bare = replace(live(desired), fingerprint="")
    assert "fingerprint" in plan_object(desired, bare).reason


EXPANDABLE = Platform(storage_expandable=True)
VOLUME = ObjectId(kind="PersistentVolumeClaim", namespace="p-acme", name="postgresql-data")


def test_growing_a_volume_that_cannot_grow_is_refused_with_both_sizes_and_the_variable():
    before, after = objects_of(), objects_of(a_project(storage="2Gi"))
    (refusal,) = plan_objects(after, after_apply(before)).refusals
    assert refusal.id == VOLUME
    assert "storage is 1Gi, wanted is 2Gi; volumes of this platform do not grow" in refusal.reason
    assert "supalove_platform.storage_expandable is false" in refusal.reason


def test_a_volume_that_can_grow_does():
    before = objects_of(platform=EXPANDABLE)
    plan = plan_objects(objects_of(a_project(storage="2Gi"), platform=EXPANDABLE), after_apply(before))
    changed = {step.id.kind: step.action for step in plan.steps}
    assert changed.pop("PersistentVolumeClaim") is Action.UPDATE
    assert set(changed) <= {"ResourceQuota", "ConfigMap", "StatefulSet"}


@pytest.mark.parametrize("platform", [Platform(), EXPANDABLE])
def test_no_volume_shrinks(platform):
    before = objects_of(a_project(storage="2Gi"), platform=platform)
    (refusal,) = plan_objects(objects_of(platform=platform), after_apply(before)).refusals
    assert "storage is 2Gi, wanted is 1Gi; it can only grow" in refusal.reason


def test_a_new_project_inherits_nothing_from_an_earlier_one_of_its_name():
    plan = plan_objects(objects_of(uid=UID), after_apply(objects_of(uid=OTHER_UID)))
    assert len(plan.refusals) == len(objects_of())
    assert f"belongs to the uid {OTHER_UID}" in plan.refusals[0].reason


def test_credentials_are_made_once_and_never_compared():
    desired = the("Secret", "credentials")
    assert plan_object(desired, live(desired, data={"owner.password": "YWJj"})) is None


@pytest.mark.parametrize(
    ("drift", "case", "is_read"),
    [
        (Drift.METADATA, "certified", False),
        (Drift.METADATA, "touched", True),
        (Drift.METADATA, "replaced", True),
        (Drift.METADATA, "uncertified", True),
        (Drift.METADATA, "outdated", True),
        (Drift.OFF, "touched", False),
        (Drift.OFF, "uncertified", False),
        (Drift.OFF, "outdated", True),
        (Drift.FULL, "certified", True),
    ],
)
def test_what_is_read_whole_depends_on_what_the_record_certifies(drift, case, is_read):
    desired = the("ConfigMap")
    state = observed(live(desired, with_body=False))
    stamps = stamps_of(state)
    (stamp,) = stamps.values()
    if case == "touched":
        stamps = {desired.id: Stamp(uid=stamp.uid, version="2.other")}
    elif case == "replaced":
        stamps = {desired.id: Stamp(uid="another", version=stamp.version)}
    elif case == "uncertified":
        stamps = {}
    elif case == "outdated":
        desired = changed(desired, ("data",), {})
    assert doubtful([desired], state, stamps, drift) == ((desired.id,) if is_read else ())


def test_neither_the_absent_nor_the_create_only_are_read():
    secret = the("Secret", "credentials")
    assert doubtful([secret, the("ConfigMap")], observed(live(secret, version="9")), {}, Drift.FULL) == ()


json_values = st.recursive(
    st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_nothing_differs_from_itself(value):
    assert list(differences(value, value)) == []


@pytest.mark.parametrize("exact", [Exact(), Exact(paths=("spec",))])
@given(live_value=json_values, desired=json_values)
def test_what_a_diff_shows_differs_where_the_object_does(live_value, desired, exact):
    live_value, desired = {"spec": live_value}, {"spec": desired}
    found = list(differences(live_value, desired, exact))
    assert list(differences(comparable(live_value, desired, exact), desired, exact)) == found
    assert (comparable(live_value, desired, exact) == desired) is (found == [])


@given(st.dictionaries(st.text(max_size=3), json_values, min_size=1))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(body):
    assert fingerprint(body) == fingerprint(dict(reversed(body.items())))


def test_long_values_are_not_put_into_a_sentence():
    (difference,) = differences({"a": "x" * 100}, {"a": "y"})
    assert str(difference) == "a differs"


def test_ids_print_the_same_everywhere():
    assert str(ObjectId.of(one("Service", "pooler"))) == "Service/p-acme/pooler"
    assert str(ObjectId(kind="Namespace", name="p-acme")) == "Namespace/p-acme"
