# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real registries on loopback: one that is public and plain, and a site's with TLS and a password."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import io
import json
import ssl
import tarfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fix_apiserver import Program
from fix_certificates import write_certificates
from fix_ports import free_port
from lab import binaries

START_SECONDS = 30
LOGIN = "mirror:only-for-tests"
# Of the password above, by bcrypt, the one kind that the registry reads.
PASSWORDS = "mirror:$2b$04$H7um3TEEYqQEpbSCuIITLOOgmsQDuBRE2lkn5OQB5c1h3Z3nogIve\n"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OF_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


@dataclasses.dataclass(frozen=True)
class Registry:
    """A registry as it is asked. `folder`: its files; certificates and passwords, if it has some, are among them."""

    address: str
    folder: Path
    program: Program

    def ask(self, verb: str, path: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        login = base64.b64encode(LOGIN.encode()).decode()
        with contextlib.closing(self._connection()) as connection:
            headers = {"Authorization": f"Basic {login}", "Accept": f"{INDEX}, {MANIFEST}, {OF_DOCKER}"}
            connection.request(verb, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _connection(self) -> http.client.HTTPConnection:
        authority = self.folder / "ca.crt"
        if not authority.exists():
            return http.client.HTTPConnection(self.address, timeout=10)
        context = ssl.create_default_context(cafile=str(authority))
        return http.client.HTTPSConnection(self.address, timeout=10, context=context)

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """The manifest as it is kept; None if there is none."""
        status, body = self.ask("GET", f"/v2/{repository}/manifests/{reference}")
        return body if status == HTTPStatus.OK else None

    def writes(self) -> int:
        """How often anything was sent to it."""
        log = self.program.log.read_text()
        return sum(log.count(f"http.request.method={verb}") for verb in ("PUT", "POST", "PATCH"))


@pytest.fixture
def public_registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry without anything that protects it."""
    yield from _serve(tmp_path / "public", {})


@pytest.fixture
def site_registry(tmp_path: Path) -> Iterator[Registry]:
    """A site's registry."""
    folder = tmp_path / "site"
    folder.mkdir()
    write_certificates(folder)
    folder.joinpath("passwords").write_text(PASSWORDS)
    tls = {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")}
    login = {"htpasswd": {"realm": "site", "path": str(folder / "passwords")}}
    yield from _serve(folder, {"http": {"tls": tls}, "auth": login})


def _serve(folder: Path, more: dict[str, Any]) -> Iterator[Registry]:
    folder.mkdir(exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        **more,
        "http": {"addr": address, "secret": "for-tests", **more.get("http", {})},
    }
    folder.joinpath("settings.yml").write_text(json.dumps(settings))
    binary = binaries.ensure(binaries.target("registry")) / "registry"
    program = Program(arguments=[str(binary), "serve", str(folder / "settings.yml")], log=folder / "registry.log")
    registry = Registry(address=address, folder=folder, program=program)
    program.start()
    try:
        _await(registry)
        yield registry
    finally:
        program.stop()


def _await(registry: Registry) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            registry.ask("GET", "/v2/")
        except OSError:
            assert registry.program.is_up(), registry.program.log.read_text()
            assert time.monotonic() < end, registry.program.log.read_text()
            time.sleep(0.1)
        else:
            return


def layout(folder: Path, text: str) -> str:
    """Write an OCI layout of a tiny image for two architectures; the digest of their list.

    The list ends in an empty line: whoever strips it has another digest.
    """
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def kept(data: bytes, media: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs.joinpath(digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}

    def image(architecture: str) -> dict[str, Any]:
        layer = kept(tar_of(f"{text} for {architecture}"), "application/vnd.oci.image.layer.v1.tar")
        settings = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        config = kept(json.dumps(settings).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        platform = {"architecture": architecture, "os": "linux"}
        return kept(json.dumps(manifest).encode(), MANIFEST, platform=platform)

    images = [image("amd64"), image("arm64")]
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}
    index = kept(f"{json.dumps(listed, indent=1)}\n\n".encode(), INDEX)
    folder.joinpath("index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    folder.joinpath("oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return str(index["digest"])


def tar_of(text: str) -> bytes:
    """A tar with one file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()
