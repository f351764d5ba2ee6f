# SPDX-License-Identifier: GPL-3.0-or-later

"""The object store on its host after playbooks/site.yml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = Path(__file__).parents[3] / "inventories/lab/hosts.yml"
FILES = INVENTORY.parent / ".kube"
RUNNER = AnsibleRunner(str(INVENTORY))
NAME = RUNNER.get_hosts("control_plane")[0]
ADDRESS = RUNNER.get_variables(NAME)["ansible_host"]
OTHER = RUNNER.get_hosts("data_plane")[0]


@pytest.fixture(scope="module")
def host() -> Host:
    return RUNNER.get_host(NAME)


def test_server_and_port_are_there_and_start_with_the_host(host: Host) -> None:
    for unit in ("seaweedfs.service", "seaweedfs-s3.socket"):
        service = host.service(unit)
        assert (service.is_running, service.is_enabled) == (True, True), unit


def test_its_files_belong_to_it_or_to_root(host: Host) -> None:
    data, identities = host.file("/var/lib/seaweedfs"), host.file("/etc/seaweedfs/s3.json")
    assert (data.user, data.mode) == ("seaweedfs", 0o700)
    assert (identities.user, identities.group, identities.mode) == ("root", "seaweedfs", 0o640)
    assert host.file("/etc/supalove/object-store-authority").mode == 0o700
    assert host.check_output("ps --no-headers -o user:16 -C weed").strip() == "seaweedfs"


def test_only_the_port_of_s3_is_reached_from_outside() -> None:
    other = RUNNER.get_host(OTHER)
    reached = [
        port
        for port in (8333, 9333, 19333, 18080, 8888, 18888, 18333)
        if other.run(f"timeout 2 bash -c '</dev/tcp/{ADDRESS}/{port}'").rc == 0
    ]
    assert reached == [8333]


def test_the_certificate_is_verified_and_nobody_in_particular_is_refused() -> None:
    other = RUNNER.get_host(OTHER)
    url = f"https://{ADDRESS}:8333/supalove"
    asked = f"curl --silent --max-time 10 --output /dev/null --write-out '%{{http_code}}' {url}"
    # 60: nobody that this machine trusts has signed it.
    assert other.run(asked).rc == 60
    ca = (FILES / "object-store-ca.pem").read_text()
    assert other.check_output(f"printf '%s' '{ca}' > /run/test-ca.pem; {asked} --cacert /run/test-ca.pem") == "403"


def test_the_login_on_the_controller_is_private_and_whole() -> None:
    path = FILES / "object-store.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {key: len(value) for key, value in json.loads(path.read_text()).items()} == {
        "access_key": 20,
        "secret_key": 40,
    }
