# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.objects import Desired
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.placement import Placement
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.quantities import parse_bytes, parse_cpu
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import endpoints_of
from builders import (
    DEDICATED,
    FREE,
    PRO,
    UID,
    WHOLE_AUTH,
    a_project,
    a_served_project,
    a_shared_project,
    objects_of,
    one,
)

GOLDEN = Path(__file__).parent / "golden"
GATEWAY = Platform(domain="example.com", gateway_kind="gateway")
ROUTED = Platform(domain="example.com", gateway_kind="route", gateway_unchecked_keys_accepted=True)
TIERS = {"small": FREE, "pro": {**PRO, "runtime_class": "gvisor"}}


def as_json(objects: tuple[Desired, ...]) -> str:
    return json.dumps([desired.body for desired in objects], indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_the_objects_of_a_tier_are_the_reviewed_ones(tier):
    """To accept a wanted change: write the text of the failure's left side to the file, and review the diff."""
    assert as_json(objects_of(a_project(tier=TIERS[tier]))) == (GOLDEN / f"{tier}.json").read_text()


def test_the_objects_of_a_shared_project_are_the_reviewed_ones():
    objects = objects_of(a_shared_project(), placement=Placement(cluster="one"))
    assert as_json(objects) == (GOLDEN / "shared.json").read_text()


def test_what_services_add_to_a_project_are_the_reviewed_objects():
    assert as_json(of_services()) == (GOLDEN / "services.json").read_text()


def test_what_settings_of_auth_change_of_a_project_are_the_reviewed_objects():
    before = {one.id: one.body for one in of_served(GATEWAY)}
    project = a_served_project(auth=WHOLE_AUTH)
    objects = objects_of(project, platform=GATEWAY, placement=Placement(cluster="one"))
    changed = tuple(one for one in objects if before.get(one.id) != one.body)
    assert as_json(changed) == (GOLDEN / "auth.json").read_text()


def of_services() -> tuple[Desired, ...]:
    """What of a shared project is not as it is without a gateway."""
    before = {one.id: one.body for one in objects_of(a_shared_project(), placement=Placement(cluster="one"))}
    platform = Platform(domain="example.com", gateway_kind="gateway")
    objects = objects_of(a_served_project(), platform=platform, placement=Placement(cluster="one"))
    return tuple(one for one in objects if before.get(one.id) != one.body)


def of_served(platform: Platform) -> tuple[Desired, ...]:
    return objects_of(a_served_project(), platform=platform, placement=Placement(cluster="one"))


def test_what_openshift_routes_make_of_a_project_are_the_reviewed_objects():
    behind_gateway = {one.id: one.body for one in of_served(GATEWAY)}
    objects = tuple(one for one in of_served(ROUTED) if behind_gateway.get(one.id) != one.body)
    assert as_json(objects) == (GOLDEN / "routed.json").read_text()


def test_behind_openshift_routes_there_is_nothing_of_the_gateway():
    gone = {one.id for one in of_served(GATEWAY)} - {one.id for one in of_served(ROUTED)}
    assert {(id.kind, id.name) for id in gone} == {
        ("Middleware", "api-key"),
        ("Middleware", "share"),
        ("Middleware", "strip"),
        ("HTTPRoute", "project"),
        ("TLSRoute", "sql"),
    }
    assert "supalove-system-gateway" not in as_json(of_served(ROUTED))


def test_no_other_project_can_have_the_name_of_a_pooler_behind_openshift_routes():
    """A ref has no dot."""
    (secret,) = [one for one in of_served(ROUTED) if one.id.kind == "Secret"]
    assert "sql.acme.example.com" in [getattr(one, "host", "") for one in secret.generates]
    assert one("Route", "sql", of_served(ROUTED))["spec"]["host"] == "sql.acme.example.com"


def test_a_shared_project_has_no_volume_and_no_postgresql_of_its_own():
    objects = objects_of(a_shared_project(), placement=Placement(cluster="one"))
    assert "StatefulSet" not in {desired.id.kind for desired in objects}
    (quota,) = (desired.body for desired in objects if desired.id.kind == "ResourceQuota")
    assert quota["spec"]["hard"]["persistentvolumeclaims"] == "0"


@pytest.mark.parametrize("placement", [DEDICATED, Placement(cluster="one")])
def test_a_stopped_project_runs_nothing_and_lets_nobody_in(placement):
    project = a_project(state="absent") if placement == DEDICATED else a_shared_project(state="absent")
    bodies = [desired.body for desired in objects_of(project, placement=placement)]
    assert {body["spec"]["replicas"] for body in bodies if body["kind"] in ("StatefulSet", "Deployment")} == {0}
    assert not any(body["spec"]["login"] for body in bodies if body["kind"] == "DatabaseRole")
    assert not any(body["spec"]["allowConnections"] for body in bodies if body["kind"] == "Database")


@pytest.mark.parametrize("placement", [DEDICATED, Placement(cluster="one")])
def test_a_project_has_at_most_twenty_two_objects(placement):
    project = a_project() if placement == DEDICATED else a_shared_project()
    assert len(objects_of(project, placement=placement)) + 1 <= 22


def pods():
    for desired in objects_of():
        if desired.id.kind in ("StatefulSet", "Deployment"):
            yield desired.body["spec"]["template"]["spec"]


def test_every_pod_keeps_to_the_restricted_profile():
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_every_container_of_a_dedicated_project_is_guaranteed_its_resources():
    for pod in pods():
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_a_pooler_that_shares_its_postgresql_reserves_what_an_idle_one_takes_and_the_quota_takes_two():
    objects = {one.id.kind: one.body for one in objects_of(a_shared_project(), placement=Placement(cluster="one"))}
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    hard = objects["ResourceQuota"]["spec"]["hard"]
    for what, (cpu, memory) in {"requests": (10, 32), "limits": (100, 65)}.items():
        asked = container["resources"][what]
        assert (parse_cpu(asked["cpu"]), parse_bytes(asked["memory"])) == (cpu, memory * 1024**2)
        assert parse_cpu(hard[f"{what}.cpu"]) == 2 * cpu + 500
        assert parse_bytes(hard[f"{what}.memory"]) == (2 * memory + 512) * 1024**2


def test_a_pooler_whose_lookup_hangs_is_started_anew_and_looks_up_no_more_once_it_has_an_answer():
    (container,) = one("Deployment", "pooler")["spec"]["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 120
    # What is remembered for years must be an address that stays.
    assert one("Service", "postgresql")["spec"]["type"] == "ClusterIP"
    seconds = re.search(r"^dns_max_ttl = (\d+)$", one("ConfigMap", "pooler")["data"]["pgbouncer.ini"], re.MULTILINE)
    assert seconds
    assert int(seconds[1]) > 3 * 365 * 86400


def test_pods_run_on_the_data_plane_only_and_without_a_token():
    for pod in pods():
        assert pod["nodeSelector"] == {"node.supalove.cloud/data-plane": "true"}
        assert pod["automountServiceAccountToken"] is False


def test_the_quota_has_room_for_the_pods_an_update_and_a_job():
    hard = one("ResourceQuota", "project")["spec"]["hard"]
    cpu = memory = 0
    for pod in pods():
        copies = 2 if pod["containers"][0]["name"] == "pooler" else 1
        for container in pod["containers"]:
            cpu += copies * parse_cpu(container["resources"]["limits"]["cpu"])
            memory += copies * parse_bytes(container["resources"]["limits"]["memory"])
    assert parse_cpu(hard["limits.cpu"]) == cpu + 500
    assert parse_bytes(hard["limits.memory"]) == memory + 512 * 1024**2


def test_default_deny_holds_both_ways_for_every_pod():
    policy = one("NetworkPolicy", "project")["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_only_the_pooler_reaches_the_database():
    policies = [one("NetworkPolicy", name)["spec"] for name in ("project", "database")]
    rules = [
        rule for policy in policies for rule in policy["ingress"] if {"protocol": "TCP", "port": 5432} in rule["ports"]
    ]
    assert [rule["from"] for rule in rules] == [
        [{"podSelector": {"matchLabels": {"supalove.cloud/component": "pooler"}}}]
    ]


def test_no_rendered_object_holds_a_secret():
    secrets = [desired for desired in objects_of() if desired.id.kind == "Secret"]
    assert [("data" in each.body, each.is_create_only) for each in secrets] == [(False, True)]


def test_strangers_see_neither_ref_nor_tier_in_the_database():
    files = one("ConfigMap", "postgresql", objects_of(a_project("acme")))["data"]
    assert "acme" not in json.dumps(files)


def test_a_new_setting_restarts_the_pods_and_an_unchanged_one_does_not():
    def config(project):
        template = one("StatefulSet", "postgresql", objects_of(project))["spec"]["template"]
        return template["metadata"]["annotations"]["supalove.cloud/config"]

    assert config(a_project()) == config(a_project())
    assert config(a_project()) != config(a_project(connections=21))


def test_the_database_accepts_no_more_sessions_than_its_settings_allow():
    files = one("ConfigMap", "postgresql", objects_of(a_project(connections=50)))["data"]
    assert "max_connections = '112'" in files["postgresql.conf"]
    assert "CONNECTION LIMIT 100 " in files["bootstrap.sql"]


def test_the_full_pools_of_an_old_and_a_new_pooler_find_room():
    project = a_project(connections=50)
    update = one("Deployment", "pooler", objects_of(project))["spec"]
    poolers = update["replicas"] + update["strategy"]["rollingUpdate"]["maxSurge"]
    ini = one("ConfigMap", "pooler", objects_of(project))["data"]["pgbouncer.ini"]
    pool = int(re.search(r"default_pool_size = (\d+)", ini).group(1))
    files = one("ConfigMap", "postgresql", objects_of(project))["data"]
    owner, probe = (int(limit) for limit in re.findall(r"CONNECTION LIMIT (\d+)", files["bootstrap.sql"]))
    numbers = dict(re.findall(r"(\w+_connections) = '(\d+)'", files["postgresql.conf"]))
    assert poolers * pool <= owner
    assert poolers <= probe
    reserved = int(numbers["superuser_reserved_connections"]) + int(numbers["reserved_connections"])
    assert owner + probe <= int(numbers["max_connections"]) - reserved


def test_temporary_files_of_a_session_take_a_tenth_of_the_volume():
    files = one("ConfigMap", "postgresql", objects_of(a_project(storage="20Gi")))["data"]
    assert "temp_file_limit = '2048MB'" in files["postgresql.conf"]


def test_rows_may_take_four_fifths_of_the_volume():
    files = one("ConfigMap", "postgresql", objects_of(a_project(storage="20Gi")))["data"]
    assert f"SET supalove.storage_limit = '{16 * 1024**3}';" in files["bootstrap.sql"]


def test_the_probes_of_the_database_look_up_names_in_the_catalog_alone():
    container = one("StatefulSet", "postgresql")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "PGOPTIONS", "value": "-c search_path=pg_catalog"} in container["env"]


@pytest.mark.parametrize("memory", ["192Mi", "256Mi", "1Gi", "64Gi"])
def test_memory_of_all_sessions_at_once_fits(memory):
    project = a_project(memory=memory, connections=100)
    settings = dict(
        line.split(" = ")
        for line in one("ConfigMap", "postgresql", objects_of(project))["data"]["postgresql.conf"].splitlines()
        if " = " in line
    )
    shared = int(settings["shared_buffers"].strip("'MB"))
    work = max(1024, int(settings["work_mem"].strip("'kB"))) * 100 // 1024
    assert shared + work <= project.memory // 1024**2


def test_endpoints_name_the_secret_and_not_what_is_in_it():
    endpoints = endpoints_of(a_project(), Platform(), UID)
    assert endpoints == {
        "host": "pooler.p-acme.svc.cluster.local",
        "port": "6432",
        "database": "postgres",
        "secret": "p-acme/credentials",
    }
    served = endpoints_of(a_served_project(), Platform(domain="example.com", gateway_kind="gateway"), UID)
    sql = "postgresql://acme.example.com:5432/postgres?sslmode=verify-full"
    assert served == {**endpoints, "url": "https://acme.example.com", "sql": sql}
    routed = endpoints_of(a_served_project(), ROUTED, UID)
    sql = "postgresql://sql.acme.example.com:443/postgres?sslmode=verify-full&sslnegotiation=direct"
    assert routed == {**endpoints, "url": "https://acme.example.com", "sql": sql}


def served_pods():
    platform = Platform(domain="example.com", gateway_kind="gateway")
    for desired in objects_of(a_served_project(), platform=platform, placement=Placement(cluster="one")):
        if desired.id.kind == "Deployment":
            yield desired.id.name, desired.body["spec"]["template"]["spec"]


def test_no_secret_is_in_the_environment_of_a_service():
    pods = dict(served_pods())
    assert {*pods} == {"pooler", "auth", "rest"}
    for pod in pods.values():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert all("valueFrom" not in one for one in container.get("env", []))
            assert "envFrom" not in container


def test_a_service_mounts_of_the_secret_its_own_files_only():
    found = {
        name: [item["key"] for one in pod["volumes"] for item in one.get("secret", {}).get("items", [])]
        for name, pod in served_pods()
    }
    assert found == {
        "pooler": ["userlist.txt", "sql.crt", "sql.key"],
        "auth": ["auth.env", "migrate.env", "migrate.service"],
        "rest": ["rest.uri", "rest.jwks"],
    }


def test_a_project_without_a_gateway_has_no_services():
    names = {desired.id.name for desired in objects_of(a_shared_project(), placement=Placement(cluster="one"))}
    assert not {"auth", "rest"} & names


def test_a_project_has_the_share_of_requests_that_its_tier_gives():
    tier = {"placement": "shared", "storage": "500Mi", "requests_per_second": 7}
    platform = Platform(domain="example.com", gateway_kind="gateway")
    objects = objects_of(a_served_project(tier=tier), platform=platform, placement=Placement(cluster="one"))
    limit = one("Middleware", "share", objects)["spec"]["rateLimit"]
    assert (limit["average"], limit["burst"]) == (7, 14)
