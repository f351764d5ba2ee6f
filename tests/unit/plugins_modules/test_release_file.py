# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, against a real HTTP server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[3] / "plugins/modules/release_file.py"
CONTENT = b"the program\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


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
            [sys.executable, "-P", str(MODULE)],  # its folder has a platform.py
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
