# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are made once and again only when they must be."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.standin import pki


def test_a_certificate_is_kept_until_its_names_change(tmp_path: Path) -> None:
    ca = pki.Authority(tmp_path / "ca.crt", "ca")
    crt = ca.ensure(tmp_path / "a.crt", "a", sans=["a", "10.0.0.1"])
    first = crt.read_bytes()
    assert pki.Authority(tmp_path / "ca.crt", "ca").ensure(crt, "a", sans=["10.0.0.1", "a"]).read_bytes() == first
    assert ca.ensure(crt, "a", sans=["b"]).read_bytes() != first


def test_openssl_verifies_what_was_issued(tmp_path: Path) -> None:
    ca = pki.Authority(tmp_path / "ca.crt", "ca")
    crt = ca.ensure(tmp_path / "a.crt", "system:node:x", ["system:nodes"], ["x"])
    done = subprocess.run(["openssl", "verify", "-CAfile", ca.crt, crt], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (crt.with_suffix(".key").stat().st_mode & 0o777) == 0o600
