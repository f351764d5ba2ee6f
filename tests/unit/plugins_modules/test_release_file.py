# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, against a real HTTP server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COLLECTION = "ansible_collections.supalove.platform.plugins"
CONTENT = b"the program\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STRANGER = 4711


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, but for the paths that have a fault, and notes what was asked for."""

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        fault = self.server.faults.get(self.path)  # type: ignore[attr-defined]
        if fault:
            fault(self)
        else:
            super().do_GET()

    def begin(self, header: str, value: str, body: bytes) -> None:
        """Answer with the beginning of a body."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


def stalls(handler: Handler) -> None:
    """Promise ten bytes, give four, and keep the connection open."""
    handler.begin("Content-Length", "10", b"four")
    handler.server.ended.wait(30)  # type: ignore[attr-defined]


def is_cut(handler: Handler) -> None:
    handler.begin("Content-Length", "10", b"four")


def is_cut_in_a_chunk(handler: Handler) -> None:
    handler.begin("Transfer-Encoding", "chunked", b"a\r\nfour")


def trickles(handler: Handler) -> None:
    handler.begin("Content-Length", "1000", b"f")
    while not handler.server.ended.wait(0.2):  # type: ignore[attr-defined]
        try:
            handler.wfile.write(b"f")
        except OSError:
            return


class Mirror:
    """A folder that is served, the place of the file, and the module's runs."""

    def __init__(self, folder: Path, server: ThreadingHTTPServer) -> None:
        self.release = folder / "served"
        self.dest = folder / "host/bin/k3s"
        self.records = folder / "host/records"
        self.server = server
        self.faults: dict[str, Callable[[Handler], None]] = server.faults  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        asked: list[str] = self.server.asked  # type: ignore[attr-defined]
        return asked

    def run(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "url": f"{self.url}/k3s",
            "checksums_url": f"{self.url}/sums.txt",
            "dest": str(self.dest),
            "record_dir": str(self.records),
            "mode": "0755",
            "_ansible_check_mode": check,
            **options,
        }
        self.asked.clear()
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"{COLLECTION}.modules.release_file"],
            env={**os.environ, "PYTHONPATH": os.environ["SUPALOVE_COLLECTIONS"]},
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            check=False,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    served = tmp_path / "served"
    served.mkdir()
    served.joinpath("k3s").write_bytes(CONTENT)
    served.joinpath("sums.txt").write_text(f"{'0' * 64}  k3s-arm64\n{DIGEST}  k3s\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served)))
    server.asked, server.faults, server.ended = [], {}, threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Mirror(tmp_path, server)
    server.ended.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_of_the_release_is_put_in_place_with_its_mode(mirror: Mirror) -> None:
    result = mirror.run()
    assert (result["changed"], result["sha256"]) == (True, DIGEST)
    assert (mirror.dest.read_bytes(), mirror.dest.stat().st_mode & 0o777) == (CONTENT, 0o755)


def test_a_second_run_asks_the_network_for_nothing(mirror: Mirror) -> None:
    mirror.run()
    assert (mirror.run()["changed"], mirror.asked) == (False, [])


def test_a_run_killed_before_its_record_does_not_download_again(mirror: Mirror) -> None:
    mirror.run()
    for record in mirror.records.iterdir():
        record.unlink()
    assert (mirror.run()["changed"], mirror.asked) == (False, ["/sums.txt"])


@pytest.mark.parametrize("content", [b"", b"the prog", b"something else"])
def test_a_half_written_or_changed_file_is_replaced(mirror: Mirror, content: bytes) -> None:
    mirror.run()
    mirror.dest.write_bytes(content)
    assert (mirror.run()["changed"], mirror.dest.read_bytes()) == (True, CONTENT)


def test_a_lost_mode_is_repaired_without_a_download(mirror: Mirror) -> None:
    mirror.run()
    mirror.dest.chmod(0o600)
    result = mirror.run()
    assert (result["changed"], mirror.dest.stat().st_mode & 0o777, mirror.asked) == (True, 0o755, [])


def test_a_corrupt_download_is_refused_and_leaves_nothing_behind(mirror: Mirror) -> None:
    mirror.release.joinpath("k3s").write_bytes(b"corrupt")
    result = mirror.run()
    assert result["failed"]
    assert f"{mirror.url}/k3s is not the file that was released" in result["msg"]
    assert list(mirror.dest.parent.iterdir()) == []


def test_a_corrupt_download_leaves_the_old_file_in_place(mirror: Mirror) -> None:
    mirror.run()
    result = mirror.run(sha256="0" * 64)
    assert (result["failed"], mirror.dest.read_bytes()) == (True, CONTENT)


def test_a_mirror_that_is_down_is_one_sentence_with_its_address(mirror: Mirror) -> None:
    result = mirror.run(checksums_url="http://127.0.0.1:1/sums.txt")
    assert "http://127.0.0.1:1/sums.txt cannot be reached" in result["msg"]
    assert "Connection refused" in result["msg"]


def test_a_release_that_is_missing_is_told_from_a_mirror_that_is_down(mirror: Mirror) -> None:
    assert "answered HTTP 404" in mirror.run(checksums_url=f"{mirror.url}/none.txt")["msg"]


def test_a_checksum_of_another_name_does_not_count(mirror: Mirror) -> None:
    mirror.release.joinpath("sums.txt").write_text(f"{DIGEST}  k3s-arm64\n{DIGEST}  my-k3s\n")
    assert "has no line for k3s" in mirror.run()["msg"]


def test_a_file_larger_than_the_disk_is_refused_with_both_figures(mirror: Mirror) -> None:
    with mirror.release.joinpath("k3s").open("wb") as sparse:
        sparse.truncate(1 << 42)
    result = mirror.run()
    assert f"the disk of {mirror.dest.parent} is full: {1 << 42} bytes are needed" in result["msg"]


def test_check_mode_tells_the_change_and_makes_none(mirror: Mirror) -> None:
    result = mirror.run(check=True)
    assert result["changed"]
    assert DIGEST in result["diff"]["after"]
    assert not mirror.dest.exists()
    assert "/k3s" not in mirror.asked


def test_a_given_checksum_needs_no_checksum_file(mirror: Mirror) -> None:
    assert (mirror.run(sha256=DIGEST, checksums_url="")["changed"], mirror.asked) == (True, ["/k3s"])


@pytest.mark.parametrize("name", ["k3s", "sums.txt"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (stalls, "stopped answering after 4 bytes: timed out"),
        (is_cut, "ended after 4 of 10 bytes"),
        (is_cut_in_a_chunk, "stopped answering after "),
        (trickles, "is too slow: "),
    ],
)
def test_a_mirror_that_fails_in_the_middle_is_named_with_how_far_it_came(
    mirror: Mirror, name: str, fault: Callable[[Handler], None], said: str
) -> None:
    mirror.faults[f"/{name}"] = fault
    result = mirror.run(timeout_seconds=1, deadline_seconds=1)
    assert f"{mirror.url}/{name} {said}" in result["msg"]
    assert not mirror.dest.parent.exists() or list(mirror.dest.parent.iterdir()) == []


def test_a_checksum_file_without_end_is_refused(mirror: Mirror) -> None:
    mirror.release.joinpath("sums.txt").write_bytes(b"\n" * (1 << 20) + b"x")
    assert "sums.txt is no checksum file: it has more than" in mirror.run()["msg"]


@pytest.mark.parametrize("place", ["dest", "record_dir"])
def test_a_place_that_cannot_be_written_is_named(mirror: Mirror, tmp_path: Path, place: str) -> None:
    tmp_path.joinpath("file").touch()
    result = mirror.run(**{place: str(tmp_path / "file/below")})
    assert f"{tmp_path}/file/below" in result["msg"]
    assert result["msg"].endswith("Not a directory") or result["msg"].endswith("File exists")


def test_a_place_that_is_a_directory_is_named(mirror: Mirror) -> None:
    mirror.dest.mkdir(parents=True)
    assert f"{mirror.dest} cannot be read: Is a directory" in mirror.run()["msg"]


FILES = {"runsc": b"first", "gvisor-bin/sentry": b"second"}
FORMS = {"bz2": "w:bz2", "xz": "w:xz", "zst": "w"}
needs_zstd = pytest.mark.skipif(not shutil.which("zstd"), reason="the program zstd is not here")


def pack(path: Path, files: dict[str, bytes]) -> str:
    """A tarball, compressed as its name says; its SHA-512."""
    with tarfile.open(path, FORMS[path.suffix[1:]]) as tarball:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(content), 0o777
            member.uid = member.gid = STRANGER
            member.uname = member.gname = "daemon"
            tarball.addfile(member, io.BytesIO(content))
    if path.suffix == ".zst":
        subprocess.run(["zstd", "--quiet", "--force", str(path), "-o", f"{path}.made"], check=True)
        os.replace(f"{path}.made", path)
    return hashlib.sha512(path.read_bytes()).hexdigest()


@pytest.fixture(params=["bz2", "xz", pytest.param("zst", marks=needs_zstd)])
def archive(mirror: Mirror, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A release's archive with a SHA-512 beside it; the options by which it is unpacked."""
    name = f"gvisor.tar.{request.param}"
    digest = pack(mirror.release / name, FILES)
    mirror.release.joinpath(f"{name}.sha512").write_text(f"{digest}  {name}\n")
    url = f"{mirror.url}/{name}"
    return {"url": url, "checksums_url": f"{url}.sha512", "algorithm": "sha512", "unpack": True}


def unpacked(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_unpacked_whole_with_its_modes(mirror: Mirror, archive: dict[str, Any]) -> None:
    assert mirror.run(**archive, check=True)["changed"]
    assert not mirror.dest.exists()
    assert mirror.run(**archive)["changed"]
    assert unpacked(mirror.dest) == FILES
    assert mirror.dest.joinpath("runsc").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in mirror.dest.parent.iterdir()] == [mirror.dest.name]
    assert (mirror.run(**archive)["changed"], mirror.asked) == (False, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("before", ["", "del tarfile.tar_filter\n"], ids=["with filters", "before they were"])
def test_what_is_unpacked_is_roots_and_nobody_elses_to_write(tmp_path: Path, before: str) -> None:
    pack(tmp_path / "a.tar.xz", FILES)
    program = f"import sys, tarfile\n{before}from {COLLECTION}.module_utils._release_archive import unpack\n"
    program += "unpack(*sys.argv[1:], 'a.tar.xz')"
    arguments = [str(tmp_path / "a.tar.xz"), str(tmp_path / "made")]
    environment = {**os.environ, "PYTHONPATH": os.environ["SUPALOVE_COLLECTIONS"]}
    subprocess.run([sys.executable, "-P", "-c", program, *arguments], check=True, env=environment)
    found = [path.stat() for path in (tmp_path / "made").rglob("*")]
    assert found
    assert {(one.st_uid, one.st_gid, one.st_mode & 0o022) for one in found} == {(0, 0, 0)}


def test_another_archive_replaces_all_that_was_unpacked(mirror: Mirror) -> None:
    for files in ({"old": b"1"}, {"new": b"2"}):
        digest = pack(mirror.release / "a.tar.xz", files)
        mirror.release.joinpath("sums.txt").write_text(f"{digest}  a.tar.xz\n")
        shutil.rmtree(mirror.records, ignore_errors=True)
        assert mirror.run(url=f"{mirror.url}/a.tar.xz", algorithm="sha512", unpack=True)["changed"]
    assert unpacked(mirror.dest) == {"new": b"2"}


def test_a_changed_archive_is_refused_before_it_is_unpacked(mirror: Mirror, archive: dict[str, Any]) -> None:
    mirror.release.joinpath(archive["url"].rpartition("/")[2]).write_bytes(b"changed")
    assert "is not the file that was released: found sha512" in mirror.run(**archive)["msg"]
    assert not list(mirror.dest.parent.iterdir())


def test_a_directory_that_was_lost_is_unpacked_again(mirror: Mirror, archive: dict[str, Any]) -> None:
    mirror.run(**archive)
    shutil.rmtree(mirror.dest)
    assert mirror.run(**archive)["changed"]
    assert unpacked(mirror.dest) == FILES


@pytest.mark.parametrize("options", [{"unpack": True}, {"member": "./runsc"}], ids=["whole", "member"])
def test_what_is_remembered_says_of_what_kind_the_digest_is(mirror: Mirror, options: dict[str, Any]) -> None:
    digest = pack(mirror.release / "a.tar.xz", FILES)
    mirror.release.joinpath("sums.txt").write_text(f"{digest}  a.tar.xz\n")
    given = {"url": f"{mirror.url}/a.tar.xz", "algorithm": "sha512", **options}
    assert mirror.run(**given)["changed"]
    (record,) = (json.loads(path.read_text()) for path in mirror.records.iterdir())
    assert (record["sha512"], "sha256" in record) == (digest, False)
    assert (mirror.run(**given)["changed"], mirror.asked) == (False, [])


def test_a_digest_of_another_kind_does_not_count(mirror: Mirror) -> None:
    assert "has no line for k3s" in mirror.run(algorithm="sha512")["msg"]


@needs_zstd
def test_a_host_without_zstd_is_told_what_to_install(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = pack(mirror.release / "a.tar.zst", FILES)
    mirror.release.joinpath("sums.txt").write_text(f"{digest}  a.tar.zst\n")
    monkeypatch.setenv("PATH", "/nowhere")
    result = mirror.run(url=f"{mirror.url}/a.tar.zst", algorithm="sha512", unpack=True)
    assert "compressed by zstd, which is not on this host" in result["msg"]
