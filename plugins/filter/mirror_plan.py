# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which images of a platform are copied from where to where, from what skopeo said of both ends."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mirror_plan
short_description: Decide which images are to be copied to a site's registry
version_added: 0.1.0
author:
  - Supalove contributors (@supalove)
description:
  - Names of every image that a platform uses where it comes from and where it goes to, and decides from the manifests
    that both ends have whether it is to be copied. Digests are computed from manifests, never taken from a name of
    which nobody has read the manifest.
  - An image that is in the site's registry already comes from where its default does, or from O(sources).
options:
  _input:
    description: The variable C(supalove_platform).
    type: dict
    required: true
  registry:
    description: The site's registry, with a path if images go below one.
    type: str
    required: true
  only:
    description: Which images, by their keys in C(images); those that the platform uses if it is empty.
    type: list
    elements: str
    default: []
  sources:
    description: Images by key that come from elsewhere than from where the platform names them.
    type: dict
    default: {}
  archives:
    description: Files of C(images/build.py) by key, for images that come from no registry.
    type: dict
    default: {}
  there:
    description: Of every image, the result of reading it from the site's registry; as far as that was done.
    type: list
    elements: dict
    default: []
  found:
    description: Of every image, the result of reading it from its source; as far as that was done.
    type: list
    elements: dict
    default: []
  kept:
    description: Of every image, the result of reading its manifest from the site's registry in the end.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show what would be copied from where to where
  ansible.builtin.debug:
    msg: "{{ supalove_platform | supalove.platform.mirror_plan(registry='registry.example.com') }}"
"""

RETURN = r"""
_value:
  description:
    - Of every image C(name); C(source) and C(target), where it comes from and goes to, C(source) empty if nothing says
      it; C(read), skopeo's options to read it; C(place), its name without tag and digest; C(there), where the site's
      registry has it; C(image), as it is to stand in the inventory; C(digest), empty as long as it is not known;
      C(asks), whether the source has to be read; C(copies), whether it is to be copied; and C(lost), whether the site's
      registry lacks it and nothing says where it comes from. What was not read yet counts as not there.
  type: list
  elements: dict
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import InvalidSpec
from ansible_collections.supalove.platform.plugins.module_utils._engine.project import fields
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.images import (
    Image,
    image_from,
    is_registry,
    used_images,
)
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.parse import parse

Result = Mapping[str, Any]

REGISTRY = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
# A manifest is what a digest is of. Of a file there is none until a registry has it, so images are compared.
MANIFEST = ("--raw",)
CONFIGURATION = ("--config", "--raw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One image on its way. `digest`: empty as long as it is not known. `there`: where the site's registry has it."""

    name: str
    source: str
    target: str
    read: Sequence[str]
    place: str
    there: str
    image: str = ""
    digest: str = ""
    asks: bool = True
    copies: bool = False
    lost: bool = False


def target_of(registry: str, image: Image) -> str:
    """Where an image goes: its repository and tag below the site's registry. One without a tag gets one of its digest,
    as registries sweep out what has none.
    """
    place = image.place if f"{image.place}/".startswith(f"{registry}/") else f"{registry}/{image.repository}"
    return f"{place}:{image.tag or image.digest.replace(':', '-')}"


def source_of(name: str, image: Image, registry: str, sources: Mapping[str, str]) -> str:
    """Where an image comes from, with its digest in place of the tag if it has one; empty if nothing says it.

    1. What the user says.
    2. Else where the platform names it, unless that is the site's registry.
    3. Else where its default is, if that is the same image.
    """
    target = target_of(registry, image)
    if name in sources:
        origin = image_from(sources[name])
    elif target.rpartition(":")[0] != image.place:
        origin = image
    elif target_of(registry, image_from(IMAGES[name])) == target:
        origin = image_from(IMAGES[name])
    else:
        return ""
    digest = origin.digest or image.digest
    return f"docker://{origin.place}@{digest}" if digest else f"docker://{origin.place}:{origin.tag}"


def copy_of(name: str, text: str, registry: str, sources: Mapping[str, str], archives: Mapping[str, str]) -> Copy:
    """One image before anything was read."""
    image = image_from(text)
    target = target_of(registry, image)
    place = target.rpartition(":")[0]
    by_tag = Copy(name=name, source="", target=target, read=MANIFEST, place=place, there=f"docker://{target}")
    if name in archives:
        return replace(by_tag, source=f"docker-archive:{archives[name]}", read=CONFIGURATION)
    source = source_of(name, image, registry, sources)
    digest = source.partition("@")[2] or image.digest
    return known(replace(by_tag, source=source), digest)


def known(copy: Copy, digest: str) -> Copy:
    """The same when its digest is known, or still is not: then only its tag names it."""
    if not digest:
        return replace(copy, image=copy.target)
    return replace(copy, digest=digest, image=f"{copy.target}@{digest}", there=f"docker://{copy.place}@{digest}")


def digest_of(result: Result) -> str:
    """The digest of what skopeo printed; empty if there was nothing to print."""
    if result.get("rc") != 0:
        return ""
    return "sha256:" + hashlib.sha256(result["stdout"].encode(errors="surrogateescape")).hexdigest()


def compared(copy: Copy, there: str, found: str, kept: str) -> Copy:
    """The same, decided. `there`, `found`, `kept`: digests of what the site's registry had, of what the source has, and
    of the manifest that the site's registry has in the end; each empty as long as it was not read.

    1. What the site's registry has under a digest that is already known needs no question to the source.
    2. What has no source is as the site's registry has it, or lost.
    3. A source's tag may be moved while images are copied: what is copied is what was read.
    """
    asks = bool(copy.source) and not (there and there == copy.digest)
    if copy.read == CONFIGURATION:
        return replace(known(copy, kept), asks=asks, copies=bool(found) and found != there)
    wanted = found or copy.digest or there
    source = copy.source
    if found and "@" not in source:
        source = f"{source.rpartition(':')[0]}@{found}"
    lost = not source and (not there or wanted != there)
    return replace(known(copy, wanted), source=source, asks=asks, copies=wanted != there and not lost, lost=lost)


def problems_of(copies: Sequence[Copy]) -> list[str]:
    """A sentence for each two images that would overwrite each other."""
    ends: dict[str, Copy] = {}
    problems = []
    for copy in copies:
        other = ends.setdefault(copy.target, copy)
        if other.source != copy.source:
            problems.append(f"{other.name} and {copy.name} would both be {copy.target}: {other.source}, {copy.source}")
    return problems


def unfit(images: Mapping[str, str], registry: str, given: Mapping[str, Any]) -> list[str]:
    """A sentence for each argument that cannot be worked with."""
    problems = []
    if not REGISTRY.fullmatch(registry) or not is_registry(registry.partition("/")[0]):
        problems.append(f"registry: found {registry!r}, allowed: an address such as registry.example.com:5000/mirror")
    for option, names in given.items():
        problems += [
            f"{option}: found {name!r}, allowed: {', '.join(sorted(images))}" for name in names if name not in images
        ]
    for name, source in given["sources"].items():
        try:
            fields.IMAGE.read(source)
        except ValueError as error:
            problems.append(f"sources.{name}: found {source!r}, allowed: {error}")
    both = sorted(given["sources"].keys() & given["archives"].keys())
    return problems + [f"sources.{name}: found a source, allowed: nothing, as archives names it, too" for name in both]


def mirror_plan(
    platform: Mapping[str, Any],
    *,
    registry: str,
    only: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
    archives: Mapping[str, str] | None = None,
    there: Sequence[Result] = (),
    found: Sequence[Result] = (),
    kept: Sequence[Result] = (),
) -> list[dict[str, Any]]:
    """Give the images with what is known of them so far. Raises AnsibleFilterError with everything that is wrong."""
    try:
        parsed = parse(projects={}, tiers={}, platform=platform).platform
    except InvalidSpec as error:
        raise AnsibleFilterError(str(error)) from error
    given: dict[str, Any] = {"only": only, "sources": sources or {}, "archives": archives or {}}
    problems = unfit(parsed.images, registry, given)
    if not problems:
        names = list(only) or list(used_images(parsed))
        copies = [
            copy_of(name, parsed.images[name], registry, given["sources"], given["archives"])
            for name in sorted(set(names))
        ]
        problems = problems_of(copies)
    if problems:
        raise AnsibleFilterError("mirror_plan: " + "; ".join(problems))
    blank: list[Result] = [{}] * len(copies)
    seen = zip(copies, there or blank, found or blank, kept or blank, strict=True)
    return [asdict(compared(copy, *map(digest_of, results))) for copy, *results in seen]


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Any]:
        """Give the filters by name."""
        return {"mirror_plan": mirror_plan}
