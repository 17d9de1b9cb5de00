"""What Python's ssl doesn't tell of a certificate: how it is signed and how long it is valid.

A walk through the outermost layers of the DER, strict: what isn't as RFC 5280 says is no
certificate. It decides nothing about trust; OpenSSL does that.
Source: RFC 5280, 4.1; for the hash of tls-server-end-point RFC 5929, 4.1, and PostgreSQL's
be_tls_get_certificate_hash. Errors: ValueError, whatever the bytes are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

_INTEGER, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x06, 0x17, 0x18
_SEQUENCE, _VERSION, _PSS_HASH = 0x30, 0xA0, 0xA0

_RSA_PSS = "1.2.840.113549.1.1.10"
_DEFAULT_PSS_HASH = "sha1"
# By the signature's algorithm. MD5 and SHA-1 count as SHA-256 for the binding (RFC 5929). Ed25519
# and Ed448 aren't here: they name no hash, and nothing says yet what is to be used for them.
_SIGNATURE_HASHES = {
    "1.2.840.113549.1.1.4": "md5",
    "1.2.840.113549.1.1.5": "sha1",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "1.2.840.10040.4.3": "sha1",
    "2.16.840.1.101.3.4.3.1": "sha224",
    "2.16.840.1.101.3.4.3.2": "sha256",
    "2.16.840.1.101.3.4.3.10": "sha3_256",
    "2.16.840.1.101.3.4.3.11": "sha3_384",
    "2.16.840.1.101.3.4.3.12": "sha3_512",
    "2.16.840.1.101.3.4.3.14": "sha3_256",
    "2.16.840.1.101.3.4.3.15": "sha3_384",
    "2.16.840.1.101.3.4.3.16": "sha3_512",
}
_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """`signature_hash` is hashlib's name of the hash that is signed, "" where there is none."""

    der: bytes
    signature_hash: str
    not_before: datetime
    not_after: datetime

    def end_point(self) -> bytes:
        """The value of the channel binding tls-server-end-point; empty where none is defined."""
        name = self.signature_hash
        if not name:
            return b""
        return hashlib.new("sha256" if name in ("md5", "sha1") else name, self.der).digest()


def read_certificate(der: bytes) -> Certificate:
    """What the certificate says. Raises: ValueError."""
    outer = _Reader(der)
    certificate = _Reader(outer.take(_SEQUENCE))
    outer.end()
    signed = _Reader(certificate.take(_SEQUENCE))
    algorithm = certificate.take(_SEQUENCE)
    if signed.peek() == _VERSION:
        signed.take(_VERSION)
    signed.take(_INTEGER)  # serial number
    if signed.take(_SEQUENCE) != algorithm:
        raise ValueError("the two names of the signature's algorithm differ")
    signed.take(_SEQUENCE)  # issuer
    validity = _Reader(signed.take(_SEQUENCE))
    not_before, not_after = _time(validity), _time(validity)
    return Certificate(der, _signature_hash(_Reader(algorithm)), not_before, not_after)


class _Reader:
    """Takes elements off the front of what one DER element holds."""

    __slots__ = ("_data", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def peek(self) -> int:
        """The next element's tag, -1 at the end."""
        return self._data[self._pos] if self._pos < len(self._data) else -1

    def take(self, tag: int) -> bytes:
        """The content of the next element, which has that tag."""
        found, content = self.take_any()
        if found != tag:
            raise ValueError(f"DER tag 0x{found:02x} where 0x{tag:02x} is expected")
        return content

    def take_any(self) -> tuple[int, bytes]:
        """Tag and content of the next element."""
        tag, length = self._byte(), self._byte()
        if length & 0x80:
            length = self._long_length(length & 0x7F)
        start = self._pos
        self._pos += length
        if self._pos > len(self._data):
            raise ValueError("DER element is longer than what holds it")
        return tag, self._data[start : self._pos]

    def end(self) -> None:
        """There is nothing more."""
        if self._pos < len(self._data):
            raise ValueError("DER element with something behind it")

    def _byte(self) -> int:
        if self._pos >= len(self._data):
            raise ValueError("DER element that ends too early")
        self._pos += 1
        return self._data[self._pos - 1]

    def _long_length(self, size: int) -> int:
        if not 0 < size <= 4:
            raise ValueError("DER length of no size or too large")
        length = 0
        for _ in range(size):
            length = length << 8 | self._byte()
        if length < 0x80 or length >> 8 * (size - 1) == 0:
            raise ValueError("DER length that isn't the shortest")
        return length


def _signature_hash(algorithm: _Reader) -> str:
    oid = _oid(algorithm.take(_OID))
    if oid != _RSA_PSS:
        return _SIGNATURE_HASHES.get(oid, "")
    parameters = _Reader(algorithm.take(_SEQUENCE))
    if parameters.peek() != _PSS_HASH:
        return _DEFAULT_PSS_HASH
    name = _Reader(_Reader(parameters.take(_PSS_HASH)).take(_SEQUENCE))
    return _HASHES.get(_oid(name.take(_OID)), "")


def _oid(data: bytes) -> str:
    if not data or data[-1] & 0x80 or len(data) > 32:
        raise ValueError("DER object identifier that is none")
    numbers, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _time(validity: _Reader) -> datetime:
    tag, content = validity.take_any()
    text = content.decode("ascii")
    if tag == _UTC_TIME and len(text) == 13:
        text = ("19" if text[:2] >= "50" else "20") + text  # RFC 5280, 4.1.2.5.1
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"DER tag 0x{tag:02x} where a time is expected")
    if len(text) != 15 or not text[:14].isdigit() or text[14] != "Z":
        raise ValueError("DER time that is none")
    # Not strptime: Python imports that only now, and may no longer be able to (see daemon.process).
    month, day, hour, minute, second = (int(text[i : i + 2]) for i in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
