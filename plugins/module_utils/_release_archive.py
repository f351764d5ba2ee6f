# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This file is private to the collection; its interface may change in any release.
"""What a release's archive holds, in its place: one file of it, or all."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import typing as t
import zipfile


class ReleaseError(Exception):
    """What went wrong, in words for the operator."""


def extract(archive: str, member: str, url: str) -> None:
    """Put a file of an archive in the archive's own place, flushed to the disk."""
    inner = archive + ".member"
    try:
        with open_member(archive, member) as source, open(inner, "wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(inner, archive)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{url} is no archive with {member} in it: {error}") from error
    finally:
        if os.path.exists(inner):
            os.unlink(inner)


@contextlib.contextmanager
def open_member(archive: str, member: str) -> t.Iterator[t.IO[bytes]]:
    """Open a file in a zip file or a tarball."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as file:
            yield file
        return
    with tarfile.open(archive) as tarball:
        found = tarball.extractfile(member)
        if found is None:
            raise KeyError(f"{member} is no file")
        yield found


def unpack(archive: str, dest: str, url: str) -> None:
    """Replace a directory by what is in an archive. A kill leaves the old one, or none and no record."""
    new, old = dest + ".new", dest + ".old"
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    os.mkdir(new, 0o755)
    try:
        with open_tarball(archive, url) as tarball:
            members = of_root(tarball)
            if hasattr(tarfile, "tar_filter"):
                tarball.extractall(new, members, filter="tar")
            else:
                tarball.extractall(new, members)  # noqa: S202 (its digest is that of the release)
    except (tarfile.TarError, EOFError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise ReleaseError(f"{url} is no tarball that can be unpacked: {error}") from error
    if os.path.isdir(dest):
        os.replace(dest, old)
    os.replace(new, dest)
    shutil.rmtree(old, ignore_errors=True)


def of_root(tarball: tarfile.TarFile) -> t.Iterator[tarfile.TarInfo]:
    """Give what is in an archive as root's own: its numbers are of users of another machine, who could be of this."""
    for member in tarball:
        member.uid = member.gid = 0
        # A name counts more than a number.
        member.uname = member.gname = ""
        member.mode &= 0o755
        yield member


@contextlib.contextmanager
def open_tarball(archive: str, url: str) -> t.Iterator[tarfile.TarFile]:
    """Open a tarball, compressed as its URL says. Python itself knows zstd from 3.14 on."""
    if not url.endswith(".zst"):
        with tarfile.open(archive) as tarball:
            yield tarball
        return
    program = shutil.which("zstd")
    if program is None:
        raise ReleaseError(f"{url} is compressed by zstd, which is not on this host. Install it, then run again")
    plain = archive + ".tar"
    try:
        argv = [program, "--decompress", "--quiet", "--force", "-o", plain, archive]
        done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise ReleaseError(f"{url} cannot be decompressed: {done.stderr.strip()}")
        with tarfile.open(plain) as tarball:
            yield tarball
    finally:
        if os.path.exists(plain):
            os.unlink(plain)
