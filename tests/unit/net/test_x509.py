"""What is read off certificates: real ones of every kind of key, and bytes that are none."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pgmux.net.x509 import read_certificate

START, END = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
LATE = datetime(2051, 6, 7, 8, 9, 10, tzinfo=UTC)
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")
MD5_WITH_RSA = bytes.fromhex("06092a864886f70d010104")

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def certificate(
    key: Key,
    hash_: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None,
    pss: padding.PSS | None = None,
    end: datetime = END,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(end)
    )
    return builder.sign(key, hash_, rsa_padding=pss).public_bytes(Encoding.DER)


def pss(hash_: hashes.SHA256 | hashes.SHA384) -> padding.PSS:
    return padding.PSS(padding.MGF1(hash_), hash_.digest_size)


GOOD = certificate(EC, hashes.SHA256())


@pytest.mark.parametrize(
    ("der", "name"),
    [
        (certificate(RSA, hashes.SHA256()), "sha256"),
        (certificate(RSA, hashes.SHA384()), "sha384"),
        (certificate(RSA, hashes.SHA512()), "sha512"),
        (certificate(EC, hashes.SHA256()), "sha256"),
        (certificate(EC, hashes.SHA512()), "sha512"),
        (certificate(RSA, hashes.SHA256(), pss(hashes.SHA256())), "sha256"),
        (certificate(RSA, hashes.SHA384(), pss(hashes.SHA384())), "sha384"),
    ],
    ids=["rsa", "rsa-384", "rsa-512", "ec", "ec-512", "pss", "pss-384"],
)
def test_the_binding_is_by_the_hash_of_the_signature(der: bytes, name: str) -> None:
    assert read_certificate(der).end_point() == hashlib.new(name, der).digest()


@pytest.mark.parametrize("weak", [MD5_WITH_RSA, SHA1_WITH_RSA], ids=["md5", "sha1"])
def test_weak_hashes_are_replaced_by_sha256(weak: bytes) -> None:
    der = certificate(RSA, hashes.SHA256()).replace(SHA256_WITH_RSA, weak)
    assert read_certificate(der).end_point() == hashlib.sha256(der).digest()


def test_ed25519_has_no_binding() -> None:
    assert read_certificate(certificate(ED25519, None)).end_point() == b""


def test_the_time_of_validity_is_read_before_and_after_2050() -> None:
    assert read_certificate(GOOD).not_before == START
    assert read_certificate(GOOD).not_after == END
    assert read_certificate(certificate(EC, hashes.SHA256(), end=LATE)).not_after == LATE


def test_two_names_of_the_signature_that_differ_are_refused() -> None:
    der = certificate(RSA, hashes.SHA256()).replace(SHA256_WITH_RSA, SHA1_WITH_RSA, 1)
    with pytest.raises(ValueError, match="differ"):
        read_certificate(der)


@pytest.mark.parametrize("length", [0, 1, 2, 10, 100, -1])
def test_a_certificate_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="DER"):
        read_certificate(GOOD[:length])


def test_something_behind_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="behind"):
        read_certificate(GOOD + b"\0")


@given(st.binary())
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_certificate(data)


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_a_broken_certificate_is_refused_or_read_and_nothing_else(at: int, junk: bytes) -> None:
    with suppress(ValueError):
        read_certificate(GOOD[:at] + junk + GOOD[at + len(junk) :])
