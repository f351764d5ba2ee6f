# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.filter.disk_classes import disk_classes

TIER = {"cpu": 1, "memory": "1Gi", "storage": "10Gi"}
LIMITED = {"pro": {**TIER, "read_iops": 500, "write_iops": 200}, "free": TIER}


def test_a_class_has_the_figures_of_its_tier_as_text_for_every_disk() -> None:
    assert disk_classes(LIMITED, devices=["/dev/vda", "/dev/vdb"]) == {
        "supalove-r500-w200": [
            {"Devices": ["/dev/vda", "/dev/vdb"], "ThrottleReadIOPS": "500", "ThrottleWriteIOPS": "200"}
        ]
    }


def test_tiers_without_limits_need_no_class() -> None:
    assert disk_classes({"free": TIER}) == {}


def test_classes_that_pods_may_still_name_are_kept_with_the_disks_of_today() -> None:
    before = yaml.safe_dump({"Classes": {"supalove-w300": [{"Devices": ["/dev/sda"]}], "foreign": []}})
    found = disk_classes(LIMITED, devices=["/dev/vda"], before=before)
    assert list(found) == ["supalove-r500-w200", "supalove-w300"]
    assert found["supalove-w300"] == [{"Devices": ["/dev/vda"], "ThrottleWriteIOPS": "300"}]


@pytest.mark.parametrize("before", ["", "{", "[]", "Classes: 1", "Classes: null", "text"])
def test_a_file_that_cannot_be_read_is_written_anew(before: str) -> None:
    assert list(disk_classes(LIMITED, before=before)) == ["supalove-r500-w200"]


def test_wrong_tiers_are_refused_as_everywhere() -> None:
    with pytest.raises(AnsibleFilterError, match=r"supalove_tiers\.pro\.read_iops"):
        disk_classes({"pro": {"placement": "shared", "storage": "1Gi", "read_iops": 500}})
