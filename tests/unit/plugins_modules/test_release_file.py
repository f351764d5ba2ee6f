# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, against a real HTTP server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[3] / "plugins/modules/release_file.py"
CONTENT = b"the program\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for."""

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()


class Mirror:
    """A folder that is served, the place of the file, and the module's runs."""

    def __init__(self, folder: Path, server: ThreadingHTTPServer) -> None:
        self.release = folder / "served"
        self.dest = folder / "host/bin/k3s"
        self.records = folder / "host/records"
        self.server = server
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
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Mirror(tmp_path, server)
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
