# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is a virtual machine: QEMU's emulation, on the bridge of the other hosts.

docs/lab.md tells why it is started as it is. Its disk is made once. What a machine writes is gone when it ends, so it
is as throwaway as a container.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import tarfile
import tempfile
import time
from pathlib import Path

from . import binaries, layout
from .layout import Host
from .shell import podman, run, say, timed

PACKAGES = layout.CHECKOUT / ".ci/debian-packages-vm"
DISK_SIZE = "8G"
STOP_SECONDS = 30
PROCESSORS, MEMORY_MIB = 2, 3072
# Without hardware's help. What is off hangs under emulation or slows it down: SHA-256 runs 25 times faster without AVX.
EMULATED = ("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024")
PROCESSOR = "max,la57=off,svm=off,smap=off,smep=off,pku=off,avx=off,avx2=off,f16c=off,fma=off,bmi2=off"
KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off"
NETWORK = """\
[Match]
Name=eth0
[Network]
Address={address}/{prefix}
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
ROUTE = """\
[Route]
Destination={destination}/32
Gateway={gateway}
"""


def require() -> None:
    """What a virtual machine takes beyond the lab's packages is installed; SystemExit where none can run."""
    if layout.ARCH != "amd64":
        raise SystemExit(f"lab: virtual machines are of amd64, and this machine is of {layout.ARCH}")
    run([str(layout.CHECKOUT / ".ci/bootstrap"), str(PACKAGES)])


def ensure(host: Host, image: str, public_key: str) -> None:
    """Start the machine with an address and keys of its own, unless it runs. `image`: podman's, with a kernel."""
    if _pid(host):
        return
    disks = _disks(image)
    folder = _folder(host)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = folder / "ssh_host_ed25519_key"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key)])
    _write_seed(host, public_key)
    run(_command(host, disks))
    # QEMU has made the device, and it goes with QEMU.
    run(["ip", "link", "set", _tap(host), "master", _bridge(), "up"])


def stop(host: Host) -> None:
    """End it as a power failure does; nothing happens if it does not run."""
    pid = _pid(host)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _pid(host):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
    shutil.rmtree(_folder(host), ignore_errors=True)


def state(host: Host) -> str:
    """As podman says it of containers."""
    return "running" if _pid(host) else "absent"


def public_host_key(host: Host) -> str:
    return (_folder(host) / "ssh_host_ed25519_key.pub").read_text()


def console(host: Host) -> str:
    """What it has written to its console so far."""
    path = _folder(host) / "console.log"
    return path.read_text(errors="replace") if path.exists() else ""


def _folder(host: Host) -> Path:
    return layout.state() / "vm" / host.name


def _tap(host: Host) -> str:
    return f"lab-{host.name}"


def _pid(host: Host) -> int:
    """The process that runs it; 0: none."""
    path = _folder(host) / "pid"
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if str(path).encode() in command else 0


def _command(host: Host, disks: Path) -> list[str]:
    folder = _folder(host)
    (folder / "pid").unlink(missing_ok=True)
    drive = "if=virtio,format=raw,cache=unsafe,file"
    return [
        "qemu-system-x86_64", *EMULATED, "-cpu", PROCESSOR, "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB),
        "-kernel", str(disks / "vmlinuz"), "-initrd", str(disks / "initrd.img"),
        "-append", f"{KERNEL_ARGUMENTS} systemd.hostname={host.name}",
        # What is written to the first disk goes to a file without a name.
        "-drive", f"snapshot=on,{drive}={disks / 'root.img'}",
        "-drive", f"readonly=on,{drive}={folder / 'seed.tar'}",
        "-drive", f"readonly=on,{drive}={disks / 'binaries.img'}",
        "-netdev", f"tap,id=lab,ifname={_tap(host)},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=lab,mac={_mac(host)}", "-device", "virtio-rng-pci",
        "-nodefaults", "-display", "none", "-serial", f"file:{folder / 'console.log'}",
        "-pidfile", str(folder / "pid"), "-daemonize",
    ]  # fmt: skip


def _mac(host: Host) -> str:
    """Of those that anybody may choose, by the last part of the address."""
    return f"52:54:00:6c:61:{int(host.address.rpartition('.')[2]):02x}"


def _bridge() -> str:
    """This machine's end of the lab's network."""
    for line in run(["ip", "-oneline", "-4", "address", "show"]).splitlines():
        if f" {layout.GATEWAY}/" in line:
            return line.split()[1]
    raise SystemExit(f"lab: no link of this machine has {layout.GATEWAY}, the lab's bridge; is another host up?")


def _write_seed(host: Host, public_key: str) -> None:
    """What the machine unpacks over its root at its start. A disk is of whole sectors, and so is a tarball."""
    outside = (layout.METADATA_ADDRESS, layout.OUTSIDE_ADDRESS)
    network = NETWORK.format(
        address=host.address, prefix=layout.SUBNET.partition("/")[2], gateway=layout.MIRROR_ADDRESS
    ) + "".join(ROUTE.format(destination=one, gateway=layout.OUTSIDE_GATEWAY) for one in outside)
    key = (_folder(host) / "ssh_host_ed25519_key").read_text()
    with tarfile.open(_folder(host) / "seed.tar", "w") as seed:
        for name, text, mode in (
            ("etc/hostname", f"{host.name}\n", 0o644),
            # A kubelet wants the file, whatever is in it.
            ("etc/resolv.conf", "# The lab has no server of names.\n", 0o644),
            ("etc/systemd/network/10-lab.network", network, 0o644),
            ("etc/ssh/ssh_host_ed25519_key", key, 0o600),
            ("etc/ssh/ssh_host_ed25519_key.pub", public_host_key(host), 0o644),
            ("root/.ssh/authorized_keys", public_key, 0o600),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), mode
            seed.addfile(member, io.BytesIO(text.encode()))


def _disks(image: str) -> Path:
    """The folder with kernel, root and the programs that other hosts get as a volume; made when it is not there."""
    programs = [binaries.ensure(binaries.target(name)) for name in ("kube", "containerd")]
    key = hashlib.sha256(repr((image, [p.name for p in programs], DISK_SIZE)).encode()).hexdigest()[:12]
    folder = layout.cache() / "vm" / key
    if folder.exists():
        return folder
    partial = folder.with_name(f"{key}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    root = Path(podman("image", "mount", image))
    try:
        with timed("making the virtual machine's disks"):
            for name in ("vmlinuz", "initrd.img"):
                (found,) = root.joinpath("boot").glob(f"{name}-*")
                shutil.copyfile(found, partial / name)
            _make_disk(root, partial / "root.img", DISK_SIZE)
            with tempfile.TemporaryDirectory(dir=partial) as together:
                Path(together).chmod(0o755)
                for program in programs:
                    shutil.copytree(program, Path(together, program.name), symlinks=True)
                _make_disk(Path(together), partial / "binaries.img", "1G")
    finally:
        podman("image", "unmount", image)
    partial.rename(folder)
    say(f"virtual machine's disks: {folder}")
    return folder


def _make_disk(root: Path, target: Path, size: str) -> None:
    """A file system with what is below `root`; it takes no more room than that."""
    run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(root), str(target), size])
