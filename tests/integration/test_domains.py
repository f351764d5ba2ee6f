# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names of projects' own, as their clients meet them: the real Traefik, the real API server, a DNS of the test."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._domains import certificate_at
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.dns.client import Resolvers
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.kubernetes.client import Client
from ansible_collections.supalove.platform.plugins.module_utils._engine.describe import describe
from ansible_collections.supalove.platform.plugins.module_utils._engine.domains import DomainsReport, keep_domains
from ansible_collections.supalove.platform.plugins.module_utils._engine.progress import Silent
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.domains import proof_of
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import Platform
from ansible_collections.supalove.platform.plugins.module_utils._engine.render.traefik import PORTS, WEB, WEBSECURE
from ansible_collections.supalove.platform.plugins.module_utils._engine.settings import Drift, Settings
from ansible_collections.supalove.platform.plugins.module_utils._engine.steps import Outcome
from fix_apiserver import lab_kube, program
from fix_dns import Zone
from fix_engine import DyingClient, Engine, Killed
from fix_gateway import DOMAIN, PLATFORM, PODS, ROUTES, SPACE, Gateway, api_key, middleware
from test_life import namespaces_that_go, purge_of
from test_modules import play  # noqa: F401 (a fixture)

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
GIVEN = {"domain": DOMAIN, "gateway_kind": "gateway"}
SECRETS = f"/api/v1/namespaces/{SPACE}/secrets"
GATEWAYS = f"/apis/{ROUTES}/namespaces/{SPACE}/gateways"
SECONDS = 30
REFUSED = r"(?i)alert|eof|reset|unrecognized"


@dataclasses.dataclass
class Site:
    """A platform with a gateway, the DNS that it asks, and the directory of certificates on its controller."""

    gateway: Gateway
    engine: Engine
    zone: Zone
    directory: Path
    specs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def projects(self, **domains: list[str]) -> None:
        """Keep projects with these domains, by their refs; their pods are the gateway's, their keys key-of-REF."""
        self.specs |= {ref: {"tier": "free", "domains": names} for ref, names in domains.items()}
        self.run(*domains)

    def run(self, *refs: str) -> None:
        # What asks for keys is put in the engine's place below, and stays as it is here.
        report = self.engine.reconcile(self.specs, platform=GIVEN, only=frozenset(refs), drift=Drift.OFF)
        assert report.succeeded, [one.failure for one in report.outcomes]
        for ref in refs:
            self.gateway.apply(*map(functools.partial(endpoints, f"p-{ref}"), ("rest", "auth")))
            # Nobody resolves the verifier's name here.
            self.gateway.apply(middleware(f"p-{ref}", "api-key", api_key(f"key-of-{ref}", "expired")))

    def uid(self, ref: str) -> str:
        return str(self.engine.record(ref)["status"]["uid"])

    def prove(self, ref: str, *domains: str) -> None:
        for domain in domains:
            proof = proof_of(self.uid(ref), domain)
            self.zone.texts[proof.name] = ["v=something else", proof.text]

    def certify(self, domain: str, name: str = "", **term: float) -> str:
        """Give it a certificate, by default a good one of its own; its text."""
        key, chain = self.gateway.authority.issue(name or domain, **term)
        (self.directory / domain).mkdir(exist_ok=True)
        (self.directory / domain / "fullchain.pem").write_text(chain)
        (self.directory / domain / "privkey.pem").write_text(key)
        return chain

    def serve(self, **domains: list[str]) -> None:
        """Projects whose domains are proven and certified, kept once; each answers."""
        self.projects(**domains)
        for ref, names in domains.items():
            self.prove(ref, *names)
            for name in names:
                self.certify(name)
        self.keep()
        for ref, names in domains.items():
            for name in names:
                self.gateway.await_status(200, "/rest/v1/", host=name, apikey=f"key-of-{ref}")

    def keep(self, *, platform: Platform = PLATFORM, dies_after: int | None = None, **settings: Any) -> DomainsReport:
        """One run of the module's work."""
        resolvers = Resolvers((self.zone.resolver,))
        certificates = functools.partial(certificate_at, str(self.directory), now=datetime.datetime.now(datetime.UTC))
        with self.engine.client(Client if dies_after is None else DyingClient) as client:
            if isinstance(client, DyingClient):
                client.may_write = dies_after or 0
            return keep_domains(
                client,
                platform,
                lookup=lambda name, deadline: resolvers.texts(name, deadline=deadline),
                certificates=certificates,
                settings=Settings(**{"timeout_seconds": 60.0, **settings}),
                progress=Silent(),
            )

    def get(self, path: str) -> Any:
        return self.engine.server.request("GET", path)

    def exists(self, path: str) -> bool:
        return self.engine.server.exists(path)

    def await_cut(self, domain: str) -> None:
        """Until the gateway has no certificate for a domain any more."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.gateway.connection(PORTS[WEBSECURE], tls_name=domain).close()
            except OSError:
                return
            assert time.monotonic() < end, f"{domain} is still served"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all tests: a run keeps the projects of those before as well."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def site(gateway: Gateway, engine: Engine, zone: Zone, directory: Path) -> Site:
    return Site(gateway=gateway, engine=engine, zone=zone, directory=directory)


@pytest.fixture
def name(ref: str) -> Callable[[str], str]:
    """Domains that no other test has."""
    return lambda label: f"{label}.{ref}.example.org"


def endpoints(space: str, service: str) -> dict[str, Any]:
    """Where the gateway's network has a pod of the service."""
    port = {"rest": 3000, "auth": 9999}[service]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-1",
            "namespace": space,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [PODS], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def of(found: DomainsReport, ref: str) -> Outcome | None:
    """What was done for a project; None if there was nothing to look at."""
    return next((one for one in found.report.outcomes if one.ref == ref), None)


def steps(found: DomainsReport, ref: str) -> list[str]:
    outcome = of(found, ref)
    return [f"{step.action} {step.id}" for step in outcome.steps] if outcome else []


def states(found: DomainsReport, ref: str) -> dict[str, str]:
    return {one.domain: one.state.value for one in found.domains if one.ref == ref}


def message(found: DomainsReport, domain: str) -> str:
    (told,) = [one for one in found.domains if one.domain == domain]
    return told.message


def test_a_proven_domain_leads_to_its_project_and_asks_for_its_key(site, ref, name):
    domain = name("api")
    site.projects(**{ref: [domain]})
    site.prove(ref, domain)
    site.certify(domain)
    uid = site.uid(ref)
    wanted = [
        f"update SupaloveProject/supalove-system/{ref}",
        f"create Secret/{SPACE}/{uid}.{domain}",
        f"create Gateway/{SPACE}/p-{ref}",
        f"create HTTPRoute/p-{ref}/domains",
    ]
    checked = site.keep(check=True)
    assert (steps(checked, ref), checked.report.writes) == (wanted, 0)
    found = site.keep()
    assert (steps(found, ref), states(found, ref)) == (wanted, {domain: "served"})
    answer = site.gateway.await_status(200, "/rest/v1/rows?select=a", host=domain, apikey=f"key-of-{ref}")
    assert (answer.body["pod"], answer.body["path"]) == ("rest", "/rows?select=a")
    assert site.gateway.ask("/rest/v1/rows", host=domain).status == 401
    assert site.gateway.ask("/rest/v1/rows", host=domain, apikey="another").status == 401
    assert site.gateway.ask("/auth/v1/verify", host=domain).body["pod"] == "auth"
    redirected = site.gateway.ask("/rest/v1/rows", host=domain, port=PORTS[WEB])
    assert (redirected.status, redirected.headers["location"]) == (301, f"https://{domain}/rest/v1/rows")
    again = site.keep()
    assert (again.report.changed, again.report.reads, again.report.writes) == (False, 5, 0)
    assert states(again, ref) == {domain: "served"}


def test_runs_of_the_projects_and_of_the_gateway_leave_alone_what_domains_have(site, ref, name):
    site.serve(**{ref: [name("api")]})
    paths = [f"/apis/{ROUTES}/namespaces/p-{ref}/httproutes/domains", f"{GATEWAYS}/p-{ref}"]
    before = [site.get(path)["metadata"]["generation"] for path in paths]
    site.run(ref)
    assert site.gateway.keep().writes == 0
    assert [site.get(path)["metadata"]["generation"] for path in paths] == before
    assert list(site.engine.record(ref)["status"]["domains"]) == [name("api")]
    assert site.keep().report.writes == 0


OURS = {"supalove.cloud/platform": "supalove-system", "supalove.cloud/component": "domains"}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (
            {"supalove.cloud/platform": "theirs"},
            "does not carry the label supalove.cloud/platform=supalove-system",
        ),
        ({**OURS, "supalove.cloud/uid": "abcdefgh2345"}, "it belongs to the uid abcdefgh2345"),
    ],
    ids=["found when writing", "found when planning"],
)
def test_a_gateway_of_somebody_else_is_not_taken_over(site, ref, name, labels, reason):
    domain = name("api")
    site.projects(**{ref: [domain]})
    site.prove(ref, domain)
    site.certify(domain)
    spec = {"gatewayClassName": "theirs", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    meta = {"name": f"p-{ref}", "namespace": SPACE, "labels": labels}
    theirs = {"apiVersion": ROUTES, "kind": "Gateway", "metadata": meta, "spec": spec}
    site.gateway.apply(theirs)
    found = site.keep()
    failure = of(found, ref).failure
    assert failure.object == f"Gateway/{SPACE}/p-{ref}"
    assert reason in failure.reason
    assert states(found, ref) == {domain: "failed"}
    assert message(found, domain) == f"{failure.object}: {failure.reason}"
    site.gateway.delete(theirs)
    assert states(site.keep(), ref) == {domain: "served"}
    site.gateway.await_status(200, "/rest/v1/", host=domain, apikey=f"key-of-{ref}")


def test_a_domain_that_is_proven_and_whose_secret_is_somebody_elses_is_not_told_as_served(site, ref, name):
    domain = name("api")
    site.projects(**{ref: [domain]})
    site.prove(ref, domain)
    site.certify(domain)
    meta = {"name": f"{site.uid(ref)}.{domain}", "namespace": SPACE}
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
    site.gateway.apply(theirs)
    found = site.keep()
    assert steps(found, ref) == [f"update SupaloveProject/supalove-system/{ref}"]
    assert (of(found, ref).failure.step, states(found, ref)) == ("create", {domain: "failed"})
    site.gateway.delete(theirs)
    assert states(site.keep(), ref) == {domain: "served"}


def test_project_info_tells_what_to_enter_into_the_dns_and_what_is_proven(site, ref, name):
    ready, waiting = name("ready"), name("waiting")
    site.serve(**{ref: [ready]})
    site.projects(**{ref: [ready, waiting]})
    with site.engine.client() as client:
        (told,) = describe(client, PLATFORM, refs=[ref], settings=Settings())
    proofs = {one["name"]: one["record"]["value"] for one in told["domains"]}
    assert proofs == {domain: proof_of(site.uid(ref), domain).text for domain in (ready, waiting)}
    proven = {one["name"]: one["proven"] for one in told["domains"]}
    assert proven == {ready: site.engine.record(ref)["status"]["domains"][ready], waiting: ""}


def test_a_domain_that_is_not_proven_gets_nothing_and_hinders_no_other(site, ref, name):
    mine, not_mine = name("mine"), name("not-mine")
    site.projects(**{ref: [mine, not_mine]})
    site.prove(ref, mine)
    proof = proof_of(site.uid(ref), not_mine)
    # Another's proof is none, and neither is one that says more.
    site.zone.texts[proof.name] = [proof_of("abcdefgh2345", not_mine).text, f"{proof.text} "]
    for domain in (mine, not_mine):
        site.certify(domain)
    found = site.keep()
    outcome = of(found, ref)
    assert outcome is not None
    assert (outcome.result, states(found, ref)) == ("changed", {mine: "served", not_mine: "unverified"})
    assert f"a TXT record of {proof.name} has to say {proof.text}; found: 'supa" in message(found, not_mine)
    site.gateway.await_status(200, "/rest/v1/", host=mine, apikey=f"key-of-{ref}")
    with pytest.raises(OSError, match=REFUSED):
        site.gateway.connection(PORTS[WEBSECURE], tls_name=not_mine)
    assert not site.exists(f"{SECRETS}/{site.uid(ref)}.{not_mine}")


def test_what_is_proven_needs_no_dns_any_more_and_what_is_not_is_told(site, ref, name):
    old, new = name("old"), name("new")
    site.serve(**{ref: [old]})
    site.projects(**{ref: [old, new]})
    site.zone.broken = True
    site.zone.asked.clear()
    found = site.keep()
    assert states(found, ref) == {old: "served", new: "unverified"}
    assert "the DNS did not tell: " in message(found, new)
    assert f"_supalove.{old}" not in site.zone.asked
    assert site.gateway.ask("/rest/v1/", host=old, apikey=f"key-of-{ref}").status == 200


def test_a_silent_dns_keeps_no_renewed_certificate_from_being_shown(site, ref, name):
    old, new = name("old"), [name("new"), name("newer")]
    site.serve(**{ref: [old]})
    site.projects(**{ref: [old, *new]})
    site.certify(old)
    site.zone.silent = True
    found = site.keep(workers=1, timeout_seconds=12.0)
    assert steps(found, ref) == [f"update Secret/{SPACE}/{site.uid(ref)}.{old}"]
    assert states(found, ref) == {old: "served", **dict.fromkeys(new, "unverified")}
    assert all("the DNS did not tell: " in message(found, domain) for domain in new)


def test_a_name_in_a_record_that_no_project_may_have_is_neither_looked_up_nor_let_in(site, ref, name):
    good, bad = name("api"), ["../../etc", "*.example.org", f"other.{DOMAIN}"]
    site.serve(**{ref: [good]})
    record = site.engine.record(ref)["metadata"]
    path = f"/apis/supalove.cloud/v1alpha1/namespaces/{record['namespace']}/supaloveprojects/{ref}"
    site.engine.server.merge(path, {"spec": {"domains": [good, good, *bad]}})
    site.zone.asked.clear()
    found = site.keep()
    assert states(found, ref) == {good: "served", **dict.fromkeys(bad, "failed")}
    assert (of(found, ref).result, of(found, ref).steps) == ("failed", ())
    assert "the record has ../../etc, allowed is a host name in lower case" in message(found, bad[0])
    assert not [one for one in site.zone.asked if one.endswith(f"other.{DOMAIN}")]
    site.projects(**{ref: [good]})


def test_a_domain_that_is_below_the_platforms_new_one_is_not_served_any_more(site, ref, name):
    domain = name("api")
    site.serve(**{ref: [domain]})
    above = domain.partition(".")[2]
    found = site.keep(platform=dataclasses.replace(PLATFORM, domain=above))
    assert states(found, ref) == {domain: "failed"}
    assert f"neither {above} nor below it" in message(found, domain)
    assert not site.exists(f"{GATEWAYS}/p-{ref}")
    assert states(site.keep(), ref) == {domain: "served"}


def test_a_domain_leads_to_no_other_project_whatever_that_claims(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    a, b = name("a"), name("b")
    site.serve(**{first: [a], second: [b]})
    assert site.gateway.ask("/rest/v1/", host=a, apikey=f"key-of-{second}").status == 401
    assert site.gateway.ask("/rest/v1/", host=b, apikey=f"key-of-{first}").status == 401
    theirs = site.get(f"/apis/{ROUTES}/namespaces/p-{second}/httproutes/domains")
    for number, gateway in enumerate((f"p-{first}", "supalove")):
        claim = {
            "apiVersion": ROUTES,
            "kind": "HTTPRoute",
            "metadata": {"name": f"claim-{number}", "namespace": f"p-{second}"},
            "spec": {**theirs["spec"], "hostnames": [a], "parentRefs": [{"name": gateway, "namespace": SPACE}]},
        }
        site.gateway.apply(claim)
        assert refusal(site, claim) in ("NotAllowedByListeners", "NoMatchingListenerHostname")
        site.gateway.delete(claim)
    assert site.gateway.ask("/rest/v1/", host=a, apikey=f"key-of-{second}").status == 401
    assert site.gateway.ask("/rest/v1/", host=a, apikey=f"key-of-{first}").status == 200


def refusal(site: Site, route: dict[str, Any]) -> str:
    """Why a route was not accepted, by Traefik."""
    meta, end = route["metadata"], time.monotonic() + SECONDS
    path = f"/apis/{ROUTES}/namespaces/{meta['namespace']}/httproutes/{meta['name']}"
    while not (parents := site.get(path).get("status", {}).get("parents")):
        assert time.monotonic() < end, "the route was never looked at"
        time.sleep(0.1)
    conditions = {one["type"]: one for one in parents[0]["conditions"]}
    assert conditions["Accepted"]["status"] == "False"
    return str(conditions["Accepted"]["reason"])


def test_a_renewed_certificate_is_shown_and_a_bad_one_is_not_taken(site, ref, name):
    domain = name("api")
    site.serve(**{ref: [domain]})
    renewed = site.certify(domain)
    assert steps(site.keep(), ref) == [f"update Secret/{SPACE}/{site.uid(ref)}.{domain}"]
    await_shown(site, domain, renewed)
    for broken, said in (({"name": name("other")}, f"one for {domain}"), ({"days": -0.001}, "one that is good now")):
        site.certify(domain, **broken)
        found = site.keep()
        assert (steps(found, ref), states(found, ref)) == ([], {domain: "uncertified"})
        assert said in message(found, domain)
        assert of(found, ref).result == "failed"
    await_shown(site, domain, renewed)
    (site.directory / domain / "privkey.pem").unlink()
    assert f"key of {domain}: found" in message(site.keep(), domain)
    site.certify(domain)


def await_shown(site: Site, domain: str, chain: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        with site.gateway.connection(PORTS[WEBSECURE], tls_name=domain) as made:
            if made.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(chain):
                return
        assert time.monotonic() < end, "another certificate is shown"
        time.sleep(0.1)


def test_a_domain_without_a_certificate_waits_for_one_and_the_others_are_served(site, ref, name):
    with_one, without = name("with"), name("without")
    site.projects(**{ref: [with_one, without]})
    site.prove(ref, with_one, without)
    site.certify(with_one)
    assert states(site.keep(), ref) == {with_one: "served", without: "uncertified"}
    site.certify(without)
    found = site.keep()
    assert steps(found, ref) == [
        f"create Secret/{SPACE}/{site.uid(ref)}.{without}",
        f"update Gateway/{SPACE}/p-{ref}",
        f"update HTTPRoute/p-{ref}/domains",
    ]
    site.gateway.await_status(200, "/rest/v1/", host=without, apikey=f"key-of-{ref}")


def test_a_domain_that_is_taken_from_a_project_can_be_anothers_in_the_same_run(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    kept, moved = name("kept"), name("moved")
    site.serve(**{second: [kept, moved]})
    site.projects(**{first: [moved], second: [kept]})
    # What was proven for one project is not for the other.
    assert states(site.keep(), first) == {moved: "unverified"}
    site.await_cut(moved)
    assert not site.exists(f"{SECRETS}/{site.uid(second)}.{moved}")
    assert site.gateway.ask("/rest/v1/", host=kept, apikey=f"key-of-{second}").status == 200
    site.projects(**{first: [], second: [kept, moved]})
    site.prove(second, moved)
    assert states(site.keep(), second) == {kept: "served", moved: "served"}
    site.projects(**{first: [moved], second: [kept]})
    site.prove(first, moved)
    assert states(site.keep(), first) == {moved: "served"}
    site.gateway.await_status(200, "/rest/v1/", host=moved, apikey=f"key-of-{first}")


def test_a_domain_that_leads_to_another_project_is_refused(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    domain = name("api")
    site.serve(**{first: [domain]})
    del site.specs[first]  # no longer listed, and so left alone
    site.projects(**{second: [domain]})
    site.prove(second, domain)
    found = site.keep()
    assert states(found, second) == {domain: "taken"}
    assert f"{domain} leads to the project {first}; take it from that first" in of(found, second).failure.reason
    assert site.gateway.ask("/rest/v1/", host=domain, apikey=f"key-of-{first}").status == 200
    site.projects(**{second: []})


def test_a_domain_that_still_leads_to_a_project_whose_record_was_lost_is_refused(site, ref, name):
    """Two Gateways had the name, the other project was told that it is served, and clients went on to the first."""
    first, second = f"{ref}a", f"{ref}b"
    domain, gateway = name("api"), f"Gateway/{SPACE}/p-{ref}a"
    site.serve(**{first: [domain]})
    del site.specs[first]
    site.engine.server.request("DELETE", site.engine.record_path(first))
    site.projects(**{second: [domain]})
    site.prove(second, domain)
    site.certify(domain)
    found = site.keep()
    assert states(found, second) == {domain: "taken"}
    assert f"{domain} leads to {gateway}, whose project has no record" in of(found, second).failure.reason
    site.engine.server.request("DELETE", f"{GATEWAYS}/p-{first}")
    assert states(site.keep(), second) == {domain: "served"}
    site.gateway.await_status(200, "/rest/v1/", host=domain, apikey=f"key-of-{second}")


def test_a_domain_is_not_passed_on_while_the_gateway_of_its_former_project_cannot_be_written(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    kept, moved = name("kept"), name("moved")
    site.serve(**{second: [kept, moved]})
    site.projects(**{first: [moved], second: [kept]})
    site.prove(first, moved)
    going = f"{GATEWAYS}/p-{second}"
    site.engine.server.merge(going, {"metadata": {"finalizers": ["example.org/kept"]}})
    site.engine.server.request("DELETE", going)
    for found in (site.keep(check=True), site.keep()):
        assert states(found, first) == {moved: "taken"}
        assert f"{moved} is still held by the project {second}" in of(found, first).failure.reason
        assert not steps(found, first)
        assert states(found, second) == {kept: "failed"}
    assert not site.exists(f"{GATEWAYS}/p-{first}")
    site.engine.server.merge(going, {"metadata": {"finalizers": []}})
    found = site.keep()
    assert (states(found, first), states(found, second)) == ({moved: "served"}, {kept: "served"})


def test_a_domain_that_a_record_has_given_up_and_a_gateway_still_shows_is_not_passed_on(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    moved = name("moved")
    site.serve(**{second: [moved]})
    site.projects(**{second: []})
    with pytest.raises(Killed):
        site.keep(dies_after=2)  # the lease and the record
    site.engine.free_lease()
    assert site.engine.record(second)["status"].get("domains", {}) == {}
    site.projects(**{first: [moved]})
    site.prove(first, moved)
    path = f"/api/v1/namespaces/p-{second}"
    site.engine.server.merge(path, {"metadata": {"labels": {"supalove.cloud/uid": "abcdefgh2345"}}})
    assert states(site.keep(), first) == {moved: "taken"}
    site.engine.server.merge(path, {"metadata": {"labels": {"supalove.cloud/uid": site.uid(second)}}})
    assert states(site.keep(), first) == {moved: "served"}
    assert not site.exists(f"{GATEWAYS}/p-{second}")


def test_two_projects_that_exchange_their_domains_have_them_after_two_runs(site, ref, name):
    first, second = f"{ref}a", f"{ref}b"
    a, b = name("a"), name("b")
    site.serve(**{first: [a], second: [b]})
    site.projects(**{first: [b], second: [a]})
    site.prove(first, b)
    site.prove(second, a)
    found = site.keep()
    assert (states(found, first), states(found, second)) == ({b: "taken"}, {a: "served"})
    found = site.keep()
    assert (states(found, first), states(found, second)) == ({b: "served"}, {a: "served"})


def test_a_proven_domain_whose_project_has_lost_its_namespace_is_a_failure(site, ref, name):
    old, new = name("old"), name("new")
    site.serve(**{ref: [old]})
    site.projects(**{ref: [old, new]})
    path = f"/api/v1/namespaces/p-{ref}"
    site.engine.server.merge(path, {"metadata": {"labels": {"supalove.cloud/uid": "abcdefgh2345"}}})
    found = site.keep()
    assert (of(found, ref).result, states(found, ref)) == ("failed", {old: "failed", new: "unverified"})
    assert f"Namespace/p-{ref} belongs to abcdefgh2345" in of(found, ref).failure.reason
    site.engine.server.merge(path, {"metadata": {"labels": {"supalove.cloud/uid": site.uid(ref)}}})
    assert states(site.keep(), ref)[old] == "served"


def test_the_very_last_domain_of_all_projects_goes_too(site, ref, name):
    site.serve(**{ref: [name("api")]})
    records = "/apis/supalove.cloud/v1alpha1/namespaces/supalove-system/supaloveprojects"
    for one in site.get(records)["items"]:
        site.engine.server.merge(f"{records}/{one['metadata']['name']}", {"spec": {"domains": []}})
    assert site.keep().report.succeeded
    assert [one["metadata"]["name"] for one in site.get(GATEWAYS)["items"]] == ["supalove"]
    assert site.keep().report.writes == 0


def test_the_last_domain_takes_everything_with_it(site, ref, name):
    domain = name("api")
    site.serve(**{ref: [domain]})
    site.projects(**{ref: []})
    assert steps(site.keep(), ref) == [
        f"update SupaloveProject/supalove-system/{ref}",
        f"delete HTTPRoute/p-{ref}/domains",
        f"delete Gateway/{SPACE}/p-{ref}",
        f"delete Secret/{SPACE}/{site.uid(ref)}.{domain}",
    ]
    site.await_cut(domain)
    assert site.engine.record(ref)["status"].get("domains", {}) == {}
    assert site.keep().report.writes == 0


@pytest.mark.parametrize("dies_after", range(1, 7))
def test_a_run_that_is_killed_between_two_writes_is_finished_by_the_next(site, ref, name, dies_after):
    old, new = name("old"), name("new")
    site.serve(**{ref: [old]})
    site.projects(**{ref: [new]})
    site.prove(ref, new)
    site.certify(new)
    with pytest.raises(Killed):
        site.keep(dies_after=dies_after)
    site.engine.free_lease()
    if new in site.engine.record(ref)["status"]["domains"]:
        site.zone.texts.clear()  # what was proven once stays so
    site.keep()
    assert list(site.engine.record(ref)["status"]["domains"]) == [new]
    names = {one["metadata"]["name"] for one in site.get(SECRETS)["items"]}
    assert {one for one in names if f".{ref}." in one} == {f"{site.uid(ref)}.{new}"}
    site.gateway.await_status(200, "/rest/v1/", host=new, apikey=f"key-of-{ref}")
    site.await_cut(old)


def test_what_somebody_changed_is_repaired(site, ref, name):
    domain = name("api")
    site.serve(**{ref: [domain]})
    path = f"{GATEWAYS}/p-{ref}"
    (listener,) = site.get(path)["spec"]["listeners"]
    everybody = {"namespaces": {"from": "All"}}
    site.engine.server.merge(path, {"spec": {"listeners": [{**listener, "allowedRoutes": everybody}]}})
    site.engine.server.request("DELETE", f"{SECRETS}/{site.uid(ref)}.{domain}")
    assert steps(site.keep(), ref) == [
        f"create Secret/{SPACE}/{site.uid(ref)}.{domain}",
        f"update Gateway/{SPACE}/p-{ref}",
    ]
    assert site.keep().report.writes == 0


def test_a_stopped_project_keeps_its_domains_and_a_purged_one_has_none(site, ref, name, tmp_path):
    domain = name("api")
    site.serve(**{ref: [domain]})
    uid = site.uid(ref)
    site.specs[ref] |= {"state": "absent"}
    assert site.engine.settle(site.specs, platform=GIVEN, only=frozenset({ref})).succeeded
    found = site.keep()
    assert (found.report.writes, states(found, ref)) == (0, {domain: "served"})
    del site.specs[ref]
    with collecting_garbage(site, tmp_path), namespaces_that_go(site.engine):
        assert site.engine.reconcile({}, platform=GIVEN, **purge_of(ref, uid)).succeeded
        end = time.monotonic() + SECONDS
        while site.exists(f"{GATEWAYS}/p-{ref}") or site.exists(f"{SECRETS}/{uid}.{domain}"):
            assert time.monotonic() < end, "what the project had is still there"
            time.sleep(0.2)
    site.await_cut(domain)
    assert site.exists(f"{SECRETS}/wildcard-tls")


def collecting_garbage(site: Site, root: Path) -> Any:
    """Kubernetes' own controller that removes what is owned by something that is gone."""
    server = site.engine.server
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = server.admin_token
    (root / "admin").write_text(yaml.safe_dump(config))
    arguments = [f"--kubeconfig={root / 'admin'}", "--controllers=garbage-collector-controller", "--leader-elect=false"]
    return program(root, lab_kube(), "kube-controller-manager", [*arguments, "--secure-port=0"])


def test_the_module_tells_what_to_enter_into_the_dns_and_shows_no_key(site, ref, name, play):  # noqa: F811
    ready, waiting = name("ready"), name("waiting")
    site.projects(**{ref: [ready, waiting]})
    site.prove(ref, ready)
    site.certify(ready)
    key = (site.directory / ready / "privkey.pem").read_text().splitlines()[1]
    given = {
        "platform": GIVEN,
        "directory": str(site.directory),
        "resolvers": [f"127.0.0.1:{site.zone.port}"],
    }
    checked, _printed = play("domains", "--check", "--diff", **given)
    assert (checked["changed"], checked["requests"]["writes"]) == (True, 0)
    result, printed = play("domains", "-vvv", "--diff", **given)
    assert key not in printed + json.dumps(result)
    (told,) = [one for one in result["domains"] if one["domain"] == waiting]
    proof = proof_of(site.uid(ref), waiting)
    assert told["record"] == {"name": proof.name, "type": "TXT", "value": proof.text}
    assert proof.text in printed
    assert f"Gateway/{SPACE}/p-{ref} (create: it does not exist)" in printed
    again, _printed = play("domains", **given)
    assert (again["changed"], again["requests"]["writes"]) == (False, 0)
    wrong, _printed = play("domains", ok=False, **{**given, "resolvers": ["dns.example.org", "192.0.2.1:0"]})
    assert [one["path"] for one in wrong["problems"]] == ["resolvers", "resolvers"]
    none, _printed = play("domains", ok=False, **{**given, "platform": {}})
    assert [one["path"] for one in none["problems"]] == ["supalove_platform.gateway_kind"]


def test_the_playbook_lets_names_in_once_and_does_nothing_without_a_gateway(site, ref, name):
    domain = name("api")
    site.projects(**{ref: [domain]})
    site.prove(ref, domain)
    site.certify(domain)
    assert "changed=0 " in playbook(site, supalove_platform={})
    assert not site.exists(f"{GATEWAYS}/p-{ref}")
    assert "changed=1 " in playbook(site)
    site.gateway.await_status(200, "/rest/v1/", host=domain, apikey=f"key-of-{ref}")
    assert "changed=0 " in playbook(site)


def playbook(site: Site, **variables: Any) -> str:
    """What Ansible prints in the end of domains.yml."""
    kubeconfig = site.engine.server.kubeconfig
    given = {
        "k3s_kubeconfig_path": str(kubeconfig),
        "k3s_cluster_name": yaml.safe_load(kubeconfig.read_text())["current-context"],
        "supalove_platform": GIVEN,
        # Otherwise it is the inventory's.
        "gateway_controller_dir": str(site.directory.parent),
        "gateway_domains_dir": str(site.directory),
        "gateway_domains_resolvers": [f"127.0.0.1:{site.zone.port}"],
        **variables,
    }
    command = ["playbook", str(PLAYBOOKS / "domains.yml"), "-i", "localhost,", "-e", json.dumps(given)]
    done = subprocess.run(
        [sys.executable, "-m", "ansible", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": os.environ["SUPALOVE_COLLECTIONS"], "ANSIBLE_NOCOLOR": "1"},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.partition("PLAY RECAP")[2]
