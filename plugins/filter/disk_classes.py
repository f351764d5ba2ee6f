# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work out the blockio classes that tiers need on hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disk_classes
short_description: Work out the blockio classes that tiers need on hosts
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Gives containerd's blockio classes for the tiers that limit what PostgreSQL asks of a disk, and keeps those that a
    host has from before, as pods may still name them.
options:
  _input:
    description: The variable C(supalove_tiers).
    type: dict
    required: true
  platform:
    description: The variable C(supalove_platform).
    type: dict
    default: {}
  devices:
    description: The disks that are limited.
    type: list
    elements: str
    default: []
  before:
    description: The text of the file of classes that the host has.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show what containerd would be told
  ansible.builtin.debug:
    msg: "{{ supalove_tiers | supalove.platform.disk_classes(devices=['/dev/vda']) }}"
"""

RETURN = r"""
_value:
  description: Of every class, by name, what intel/goresctrl reads.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project import disk
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse

Class = list[dict[str, Any]]


def names_in(text: str) -> set[str]:
    """Our classes in a file of the host; none if it cannot be read, as it is then written anew."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return set()
    classes = found.get("Classes") if isinstance(found, dict) else None
    named = classes if isinstance(classes, dict) else {}
    return {name for name in named if isinstance(name, str) and disk.figures_of(name)}


def class_of(name: str, devices: Sequence[str]) -> Class:
    """What a class says of the disks; figures are text there (intel/goresctrl, pkg/blockio/config.go)."""
    figures = disk.figures_of(name) or (0, 0)
    named = zip(("ThrottleReadIOPS", "ThrottleWriteIOPS"), figures, strict=True)
    return [{"Devices": list(devices), **{key: str(figure) for key, figure in named if figure}}]


def disk_classes(
    tiers: Mapping[str, Any],
    platform: Mapping[str, Any] | None = None,
    *,
    devices: Sequence[str] = (),
    before: str = "",
) -> dict[str, Class]:
    """Give the classes by name. Raises AnsibleFilterError with everything that is wrong with the tiers."""
    try:
        parsed = parse(projects={}, tiers=tiers, platform=platform or {})
    except InvalidSpec as error:
        raise AnsibleFilterError(str(error)) from error
    names = {*disk.disk_classes(parsed.tiers.values()), *names_in(before)}
    return {name: class_of(name, devices) for name in sorted(names)}


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Give the filters by name."""
        return {"disk_classes": disk_classes}
