# SPDX-License-Identifier: BSD-2-Clause
"""The certificate that a project's pooler shows, and the authority of the project that signs it.

Pure: the clock and the random bytes are given.

1. Clients keep the authority's certificate and nothing else.
2. The pooler's own is made anew when less than a third of its time is left, or when the project has another name.
3. The authority's, too, and with the same key: until the one that a client keeps ends by itself, it will do.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Final

from .errors import MissingLibrary, SafetyStop
from .signing import private_number

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

# Kind of what stands for both in a plan.
CERTIFICATE_KIND: Final = "Certificate"
# Names of keys in the project's Secret.
AUTHORITY, AUTHORITY_KEY = "authority.crt", "authority.key"
LEAF, LEAF_KEY = "sql.crt", "sql.key"
CERTIFICATE_KEYS = (AUTHORITY, AUTHORITY_KEY, LEAF, LEAF_KEY)

DAY_SECONDS = 24 * 3600
AUTHORITY_SECONDS = 3650 * DAY_SECONDS
LEAF_SECONDS = 365 * DAY_SECONDS
# Clocks of clients may be behind.
SKEW_SECONDS = 3600
# RFC 5280, 4.1.2.2: positive, and at most 20 bytes.
SERIAL_BYTES = 19

Texts = Mapping[str, str]
RandomBytes = Callable[[int], bytes]


def certified(texts: Texts, *, host: str, now: float, random_bytes: RandomBytes) -> dict[str, str]:
    """With a certificate for this name that need not be made anew now; as they are if they have it.

    Raises SafetyStop if the authority is there and cannot be read: another one would be none that clients know.
    """
    if not is_due(term_of(texts), host=host, now=now):
        return dict(texts)
    _require_library()
    signer = _key_of(texts[AUTHORITY_KEY]) if AUTHORITY_KEY in texts else _new_key(random_bytes)
    root = _root_of(texts[AUTHORITY]) if AUTHORITY in texts else None
    # Both have the project in their names, and not the same: a certificate whose issuer it is itself signs itself.
    subject, issuer = (_name(f"{host.partition('.')[0]}{more}") for more in ("", " authority"))
    made = dict(texts)
    if root is None or root.public_key() != signer.public_key() or _ends_soon(root, AUTHORITY_SECONDS, now):
        begun = _begun(issuer, issuer, signer.public_key(), now, AUTHORITY_SECONDS, random_bytes)
        made |= {AUTHORITY: _signed(_as_authority(begun), signer, signer), AUTHORITY_KEY: _pem(signer)}
    key = _new_key(random_bytes)
    leaf = _begun(subject, issuer, key.public_key(), now, LEAF_SECONDS, random_bytes)
    return {**made, LEAF: _signed(_as_server(leaf, host), key, signer), LEAF_KEY: _pem(key)}


def term_of(texts: Texts) -> str:
    """Until when the pooler's certificate is good, in seconds since the epoch, and for which name: `<end> <name>`.

    Empty if it is no certificate, or not all that belongs to it is there.
    """
    _require_library()
    if not texts.keys() >= set(CERTIFICATE_KEYS):
        return ""
    try:
        leaf = _read(texts[LEAF])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _unreadable():
        return ""
    return " ".join((str(int(_end_of(leaf))), *names.get_values_for_type(x509.DNSName)))


def is_due(term: str, *, host: str, now: float) -> bool:
    """True if a certificate of this term is to be made anew.

    >>> is_due("1000 acme.example.com", host="acme.example.com", now=0)
    True
    >>> is_due(f"{LEAF_SECONDS} acme.example.com", host="acme.example.com", now=0)
    False
    """
    end, _space, name = term.partition(" ")
    return name != host or not end.isdigit() or int(end) - now < LEAF_SECONDS / 3


def end_of(term: str) -> str:
    """The day on which it ends, as people write it.

    >>> end_of("1800000000 acme.example.com")
    '2027-01-15'
    """
    return f"{datetime.datetime.fromtimestamp(int(term.partition(' ')[0]), datetime.UTC):%Y-%m-%d}"


def _require_library() -> None:
    if _MISSING is not None:
        raise MissingLibrary("cryptography") from _MISSING


def _new_key(random_bytes: RandomBytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(private_number(random_bytes), ec.SECP256R1())


def _key_of(pem: str) -> ec.EllipticCurvePrivateKey:
    """Nothing of what the parser says gets out: it may repeat the key."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise _broken(AUTHORITY_KEY) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _broken(AUTHORITY_KEY)
    return key


def _root_of(pem: str) -> x509.Certificate:
    try:
        return _read(pem)
    except _unreadable():
        raise _broken(AUTHORITY) from None


def _broken(name: str) -> SafetyStop:
    return SafetyStop(
        f"{name} of the project's Secret cannot be read; put it back, or remove {AUTHORITY} and {AUTHORITY_KEY} for "
        "another authority, whose certificate clients have to be given then"
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _read(pem: str) -> x509.Certificate:
    """Raises one of `_unreadable()`, some of which the library has only for who looks into it."""
    found = x509.load_pem_x509_certificate(pem.encode())
    found.public_key()
    list(found.extensions)
    return found


def _unreadable() -> tuple[type[Exception], ...]:
    return (
        ValueError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    )


def _end_of(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _ends_soon(certificate: x509.Certificate, lifetime_seconds: int, now: float) -> bool:
    return _end_of(certificate) - now < lifetime_seconds / 3


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: float,
    seconds: int,
    random_bytes: RandomBytes,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(random_bytes(SERIAL_BYTES), "big") + 1)
        .not_valid_before(_moment(now - SKEW_SECONDS))
        .not_valid_after(_moment(now + seconds))
    )


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _as_authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(
        _usage(signs_certificates=True), critical=True
    )


def _as_server(builder: x509.CertificateBuilder, host: str) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> str:
    """With the identifiers of both keys, and not of the issuer's own certificate: of that there may be another one."""
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    complete = builder.add_extension(own, critical=False).add_extension(issuer, critical=False)
    return complete.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
