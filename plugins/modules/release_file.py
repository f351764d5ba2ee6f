#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of a release, verified before it is put in place, and not downloaded again while it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_file
short_description: Put a verified file of a release in place
version_added: 0.1.0
description:
  - Downloads a file, compares its digest with the wanted one, and only then moves it to its place.
  - A file that is in place with the wanted digest is not downloaded again. A digest from the release's checksum file
    is remembered in O(record_dir), so that a further run asks the network for nothing.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: Says whether the file would be replaced. Downloads nothing but the release's checksum file.
  diff_mode:
    support: full
    description: Shows the digests.
options:
  url:
    description:
      - Where the file is. Its last part is the name that is looked up in the release's checksum file.
    type: str
    required: true
  member:
    description:
      - The file inside the archive at O(url), a tarball or a zip file, that is put in place instead of the archive. The
        digests are the archive's.
    type: str
    default: ""
  unpack:
    description:
      - Whether the archive at O(url) is unpacked, and O(dest) is the directory with what is in it. A directory that is
        there already is replaced. What is in it is not looked at again. The digests are the archive's.
      - What is unpacked is root's, whoever owned it in the archive, and nobody else may write it.
      - An archive whose name ends in C(.zst) needs the program C(zstd) on the host.
    type: bool
    default: false
  dest:
    description:
      - The path of the file. Its directory is made if it is missing.
    type: path
    required: true
  sha256:
    description:
      - The wanted digest. If it is empty, O(checksums_url) is asked.
    type: str
    default: ""
  checksums_url:
    description:
      - The release's checksum file, lines of digest and name as C(sha256sum) prints them.
    type: str
    default: ""
  algorithm:
    description:
      - What the digests at O(checksums_url) are.
    type: str
    choices: [sha256, sha512]
    default: sha256
  record_dir:
    description:
      - Where digests found at O(checksums_url) are remembered.
    type: path
    default: /var/lib/supalove/releases
  mode:
    description:
      - The permissions of the file, octal.
    type: str
    default: "0644"
  timeout_seconds:
    description:
      - How long the server may be silent.
    type: int
    default: 30
  deadline_seconds:
    description:
      - How long a whole download may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Put the k3s binary in place
  supalove.platform.release_file:
    url: https://mirror.example.com/k3s/v1.36.3%2Bk3s1/k3s
    checksums_url: https://mirror.example.com/k3s/v1.36.3%2Bk3s1/sha256sum-amd64.txt
    dest: /usr/local/bin/k3s
    mode: "0755"
"""

RETURN = r"""
dest:
  description: The path of the file.
  returned: always
  type: str
sha256:
  description: The digest of the file that is, or would be, in place, or of the archive that it is from. It is a
    SHA-512 if that is what was asked for.
  returned: always
  type: str
"""

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import typing as t
import urllib.error

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ..module_utils._release_archive import ReleaseError, extract, unpack

CHUNK = 1 << 20
CHECKSUM_FILE_LIMIT = 1 << 20
DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}")
# By their length, as hexadecimal digits.
ALGORITHMS = {64: "sha256", 128: "sha512"}
# Under which the record has the digest of a member that is in place, beside that of its archive.
MEMBER_KEY = "member_sha256"


def find_digest(text: str, name: str, algorithm: str = "sha256") -> str:
    r"""Give the digest of exactly ``name`` in the lines of ``sha256sum`` or ``sha512sum``, or an empty string.

    >>> find_digest("ab" * 32 + "  k3s-arm64\n" + "cd" * 32 + " *k3s\n", "k3s")[:4]
    'cdcd'
    """
    for line in text.splitlines():
        digest, _space, rest = line.strip().partition(" ")
        if rest.lstrip(" *") == name and is_digest(digest, algorithm):
            return digest.lower()
    return ""


def is_digest(text: str, algorithm: str) -> bool:
    """Whether a text is a digest of that kind."""
    return DIGEST.fullmatch(text.lower()) is not None and ALGORITHMS[len(text)] == algorithm


def digest_of(path: str, algorithm: str = "sha256") -> str:
    """Give a file's digest, or an empty string if there is no such file."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.new(algorithm)
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            return digest.hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error.strerror}") from error


def file_error(path: str, error: OSError) -> ReleaseError:
    """Word what prevents a file from being written."""
    if error.errno == errno.ENOSPC:
        return ReleaseError(no_space(path, str(error.strerror)))
    return ReleaseError(f"{path} cannot be written: {error.strerror or error}")


def fetch(url: str, timeout: int) -> t.Any:
    """Open a URL; whatever prevents it becomes a ReleaseError that names the URL."""
    try:
        # As it is: what is verified are the bytes that the server holds.
        return open_url(url, timeout=timeout, decompress=False)
    except urllib.error.HTTPError as error:
        raise ReleaseError(f"{url} answered HTTP {error.code} {error.reason}. Does it hold this release?") from error
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ReleaseError(
            f"{url} cannot be reached: {reason}. Check that the address is right and the server is up, then run again"
        ) from error


def chunks(url: str, params: dict[str, t.Any]) -> t.Iterator[tuple[bytes, int]]:
    """Download a URL in parts, each with the length of the whole (0: the server did not say); all or ReleaseError."""
    deadline = time.monotonic() + params["deadline_seconds"]
    received = 0
    with fetch(url, params["timeout_seconds"]) as response:
        length = getattr(response, "length", None) or 0
        while True:
            try:
                chunk = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise ReleaseError(
                    f"{url} stopped answering after {received} bytes: {error}. Run again; if it stays, check the mirror"
                ) from error
            if not chunk:
                break
            received += len(chunk)
            yield chunk, length
            if time.monotonic() > deadline:
                raise ReleaseError(
                    f"{url} is too slow: {received} bytes in {params['deadline_seconds']} s. Check the mirror"
                )
    if received < length:
        raise ReleaseError(f"{url} ended after {received} of {length} bytes. Run again; if it stays, check the mirror")


def read_release_digest(checksums_url: str, name: str, params: dict[str, t.Any]) -> str:
    """Ask the release which digest ``name`` has."""
    content = b""
    for chunk, _length in chunks(checksums_url, params):
        content += chunk
        if len(content) > CHECKSUM_FILE_LIMIT:
            raise ReleaseError(f"{checksums_url} is no checksum file: it has more than {CHECKSUM_FILE_LIMIT} bytes")
    digest = find_digest(content.decode("utf-8", errors="replace"), name, params["algorithm"])
    if not digest:
        raise ReleaseError(f"{checksums_url} has no line for {name}. Is it the one of this release and architecture?")
    return digest


def record_path(record_dir: str, dest: str) -> str:
    """Give the path under which the digest of ``dest`` is remembered."""
    return os.path.join(record_dir, dest.strip("/").replace("/", "__") + ".json")


def recorded_digest(params: dict[str, t.Any], key: str = "") -> str:
    """Give the digest remembered for the file if it came from this URL; a damaged record counts as none.

    ``key``: of what kind it is; by default as digests are compared.
    """
    try:
        with open(record_path(params["record_dir"], params["dest"]), encoding="utf-8") as file:
            record = json.load(file)
        return str(record[key or algorithm_of(params)]) if record["url"] == params["url"] else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def digest_in_place(params: dict[str, t.Any]) -> str:
    """Give the digest of what is in place: the file's, or that of the archive that it is known to be from."""
    if params["unpack"]:
        return recorded_digest(params) if os.path.isdir(params["dest"]) else ""
    if not params["member"]:
        return digest_of(params["dest"], algorithm_of(params))
    found = digest_of(params["dest"])
    return recorded_digest(params) if recorded_digest(params, MEMBER_KEY) == found else "another" if found else ""


def algorithm_of(params: dict[str, t.Any]) -> str:
    """Give what digests are compared: as the given one is, else as the release has them."""
    return "sha256" if params["sha256"] else str(params["algorithm"])


def write_record(module: AnsibleModule, dest: str, url: str, digest: str) -> None:
    """Remember the digest, after the file is in place."""
    record = {"url": url, algorithm_of(module.params): digest}
    if module.params["member"]:
        record[MEMBER_KEY] = digest_of(dest)
    path = record_path(module.params["record_dir"], dest)
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".part", path)
    except OSError as error:
        raise file_error(path, error) from error


def download(url: str, part: str, params: dict[str, t.Any]) -> str:
    """Write what a URL answers to ``part``, flushed to the disk, and give its digest."""
    free = shutil.disk_usage(os.path.dirname(part)).free
    digest = hashlib.new(algorithm_of(params))
    with open(part, "wb") as file:
        for chunk, length in chunks(url, params):
            if length > free:
                raise ReleaseError(no_space(part, f"{length} bytes are needed, {free} are free"))
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def no_space(path: str, figures: str) -> str:
    """Word a full disk."""
    return f"the disk of {os.path.dirname(path)} is full: {figures}. Free space or grow the disk, then run again"


def place(module: AnsibleModule, url: str, dest: str, wanted: str) -> None:
    """Download, verify, and move into place; a leftover of a killed run is overwritten."""
    part = dest + ".part"
    try:
        os.makedirs(os.path.dirname(dest), mode=0o755, exist_ok=True)
        algorithm, found = algorithm_of(module.params), download(url, part, module.params)
        if found != wanted:
            raise ReleaseError(
                f"{url} is not the file that was released: found {algorithm} {found}, wanted {wanted}. "
                "Nothing was installed. Repair the mirror's copy, or correct the checksum in the inventory"
            )
        if module.params["member"]:
            extract(part, module.params["member"], url)
        if module.params["unpack"]:
            unpack(part, dest, url)
            return
        os.chmod(part, int(module.params["mode"], 8))
        os.replace(part, dest)
    except OSError as error:
        raise file_error(part, error) from error
    finally:
        if os.path.exists(part):
            os.unlink(part)


def wanted_digest(params: dict[str, t.Any], in_place: str) -> str:
    """Give the wanted digest: the given one, else the remembered one if the file has it, else the release's."""
    if params["sha256"]:
        return str(params["sha256"]).lower()
    remembered = recorded_digest(params)
    if remembered and remembered == in_place:
        return remembered
    name = params["url"].rsplit("/", 1)[1]
    return read_release_digest(params["checksums_url"], name, params)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """Bring the file into place and give the module's result."""
    url, dest = module.params["url"], module.params["dest"]
    in_place = digest_in_place(module.params)
    wanted = wanted_digest(module.params, in_place)
    changed = in_place != wanted
    if changed and not module.check_mode:
        place(module, url, dest, wanted)
    remembered = recorded_digest(module.params)
    kept = not module.params["sha256"] or bool(module.params["member"]) or module.params["unpack"]
    if kept and remembered != wanted and not module.check_mode:
        write_record(module, dest, url, wanted)
    mode = {"path": dest, "mode": module.params["mode"], "owner": None, "group": None, "attributes": None}
    if os.path.exists(dest) and not module.params["unpack"]:
        arguments = {**mode, "seuser": None, "serole": None, "selevel": None, "secontext": [None, None, None]}
        changed = module.set_fs_attributes_if_different(arguments, changed)
    algorithm = algorithm_of(module.params)
    diff = {"before": f"{dest} {algorithm}:{in_place or 'absent'}\n", "after": f"{dest} {algorithm}:{wanted}\n"}
    return {"changed": changed, "dest": dest, "sha256": wanted, "diff": diff}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "member": {"type": "str", "default": ""},
            "unpack": {"type": "bool", "default": False},
            "dest": {"type": "path", "required": True},
            "sha256": {"type": "str", "default": ""},
            "checksums_url": {"type": "str", "default": "", "no_log": False},
            "algorithm": {"type": "str", "choices": ["sha256", "sha512"], "default": "sha256"},
            "record_dir": {"type": "path", "default": "/var/lib/supalove/releases"},
            "mode": {"type": "str", "default": "0644"},
            "timeout_seconds": {"type": "int", "default": 30},
            "deadline_seconds": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    if module.params["member"] and module.params["unpack"]:
        module.fail_json(msg=f"{module.params['dest']}: member and unpack are two ways, of which one can be gone")
    if not module.params["sha256"] and not module.params["checksums_url"]:
        module.fail_json(msg=f"{module.params['dest']}: neither sha256 nor checksums_url says what the file must be")
    try:
        result = ensure(module)
    except ReleaseError as error:
        module.fail_json(msg=f"on host {os.uname().nodename}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
