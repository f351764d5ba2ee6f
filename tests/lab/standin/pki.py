# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities and certificates, in the files K3s keeps under server/tls (docs/cli/certificate.md)."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 90


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def _name(common_name: str, groups: Iterable[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """One CA: its certificate and key on disk, made once."""

    def __init__(self, crt: Path, common_name: str) -> None:
        self.crt = crt
        self.key_path = crt.with_suffix(".key")
        if not self.key_path.exists() or not crt.exists():
            self._create(common_name)
        self._cert = x509.load_pem_x509_certificate(crt.read_bytes())
        key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.key_path}: expected an elliptic-curve key")
        self._key = key

    def _create(self, common_name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        cert = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name(common_name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write(self.key_path, _key_pem(key))
        write(self.crt, cert.public_bytes(serialization.Encoding.PEM), 0o644)

    def issue(self, common_name: str, groups: Iterable[str] = (), sans: Iterable[str] = ()) -> tuple[bytes, bytes]:
        """A certificate for client and server use, and its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name, groups))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=LEAF_DAYS))
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        names = [_general_name(san) for san in sorted(set(sans))]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        return cert.public_bytes(serialization.Encoding.PEM), _key_pem(key)

    def ensure(self, crt: Path, common_name: str, groups: Iterable[str] = (), sans: Iterable[str] = ()) -> Path:
        """The certificate at `crt` (key beside it), renewed when its names changed or it is near its end."""
        wanted = {str(_general_name(san).value) for san in sans}
        if not _is_current(crt, wanted):
            pem, key = self.issue(common_name, groups, sans)
            write(crt.with_suffix(".key"), key)
            write(crt, pem, 0o644)
        return crt


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_encipherment=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _is_current(crt: Path, sans: set[str]) -> bool:
    if not crt.exists() or not crt.with_suffix(".key").exists():
        return False
    cert = x509.load_pem_x509_certificate(crt.read_bytes())
    # Debian 12's cryptography has only the naive form, newer ones warn of it.
    end = getattr(cert, "not_valid_after_utc", None) or cert.not_valid_after.replace(tzinfo=dt.UTC)
    if end < dt.datetime.now(dt.UTC) + dt.timedelta(days=RENEW_DAYS):
        return False
    try:
        extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return not sans
    return {str(name.value) for name in extension.value} == sans


def ensure_service_key(path: Path) -> Path:
    """The key that signs ServiceAccount tokens (RSA, as kube-apiserver expects by default)."""
    if not path.exists():
        write(path, _key_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    return path


def ca_hash(pem: bytes) -> str:
    """The <ca-hash> of a token `K10<ca-hash>::...` (docs/cli/token.md)."""
    return hashlib.sha256(pem).hexdigest()
