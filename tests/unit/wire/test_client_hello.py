"""A ClientHello is whole when it is, wherever it is cut; what it offers is read, or nobody's."""

from __future__ import annotations

import ssl

import pytest

from pgmux.errors import TlsError
from pgmux.wire.client_hello import NO_APPLICATION_PROTOCOL, ClientHelloReader
from tests.fixtures.tls_peer import TlsPeer


def hello(*protocols: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    return TlsPeer(context).feed(b"")


def is_refused(said: bytes) -> bool:
    reader = ClientHelloReader()
    reader.feed(said)
    return reader.is_refused


def in_records(said: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes."""
    message = said[5:]
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 3, 4, 100, 16384])
def test_it_is_handed_on_when_its_last_byte_is_there(version: ssl.TLSVersion, size: int) -> None:
    said = in_records(hello("postgresql", version=version), size)
    reader = ClientHelloReader()
    for i in range(len(said) - 1):
        assert reader.feed(said[i : i + 1]) is None
        assert reader.kept_len == i + 1
    assert reader.feed(said[-1:]) == said


def test_what_comes_behind_it_goes_with_it() -> None:
    said = hello() + b"more"
    assert ClientHelloReader().feed(said) == said


@pytest.mark.parametrize("size", [1, 16384])
@pytest.mark.parametrize(
    ("protocols", "refused"),
    [
        ((), False),
        (("postgresql",), False),
        (("h2", "postgresql", "http/1.1"), False),
        (("h2", "http/1.1"), True),
        (("postgresq",), True),
        (("postgresql2",), True),
        (("POSTGRESQL",), True),
    ],
)
def test_who_offers_other_protocols_alone_is_refused(
    protocols: tuple[str, ...], refused: bool, size: int
) -> None:
    assert is_refused(in_records(hello(*protocols), size)) is refused


@pytest.mark.parametrize(
    "said",
    [
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01\0\x05\x02\0\0\x01\0",
        b"\x16\x03\x01\0\x02\x02\0",
    ],
    ids=["a byte", "http", "startup", "ServerHello", "the beginning of one"],
)
def test_what_is_none_goes_to_openssl_at_once(said: bytes) -> None:
    assert ClientHelloReader().feed(said) == said
    assert not is_refused(said)


def test_whatever_byte_is_broken_it_is_refused_or_left_to_openssl_or_not_whole() -> None:
    said = hello("h2")
    for i in range(len(said)):
        for value in (0, 1, 0x7F, 0xFF):
            broken = said[:i] + bytes([value]) + said[i + 1 :]
            whole = ClientHelloReader().feed(broken)
            assert whole in (None, broken)
            is_refused(broken)


def test_one_without_end_is_an_error() -> None:
    reader = ClientHelloReader()
    endless = b"\x16\x03\x01\x40\0\x01\xff\xff\xff" + b"x" * 16380
    assert reader.feed(endless) is None
    with pytest.raises(TlsError, match="excessive message size"):
        reader.feed(b"\x16\x03\x01\x40\0" + b"x" * 16384)


def test_the_alert_is_what_openssl_takes_for_it() -> None:
    client = TlsPeer(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    client.feed(b"")
    with pytest.raises(ssl.SSLError, match="alert no application protocol"):
        client.feed(NO_APPLICATION_PROTOCOL)
