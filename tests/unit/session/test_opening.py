"""What a client says before its startup packet: TLS asked for or begun with, cut anywhere."""

from __future__ import annotations

import ssl

import pytest

from pgmux.errors import PoolerError, ProtocolViolation, TlsError
from pgmux.session.login_steps import Answer, LoginStep, Refuse, StartTls
from pgmux.session.opening import Opening
from pgmux.wire import build
from pgmux.wire.startup import CancelRequest, StartupMessage
from tests.fixtures.tls_peer import TlsPeer

SSL = build.build_ssl_request()
GSSENC = build.build_gssenc_request()
STARTUP = build.build_startup_message({"user": "bob"})


def hello(*protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(protocols)
    return TlsPeer(context).feed(b"")


def opening(*, offers_tls: bool = True) -> Opening:
    return Opening(lambda: offers_tls)


def feed_cut(opened: Opening, data: bytes, cut: int) -> list[LoginStep]:
    steps = opened.feed(data[:cut]) if cut else []
    return steps + opened.feed(data[cut:])


def test_ssl_request_is_answered_s_and_what_follows_goes_to_tls() -> None:
    said = hello("postgresql")
    for cut in range(len(said)):
        opened = opening()
        assert opened.feed(SSL) == [Answer(b"S")]
        assert opened.awaits_tls
        assert feed_cut(opened, said, cut) == [StartTls(said)]
        assert not opened.awaits_tls and opened.is_tls and opened.packet is None
        opened.feed(STARTUP)
        assert isinstance(opened.packet, StartupMessage)


def test_without_tls_it_is_answered_n_and_may_be_repeated() -> None:
    opened = opening(offers_tls=False)
    assert opened.feed(SSL) == opened.feed(GSSENC) == opened.feed(SSL) == [Answer(b"N")]
    opened.feed(STARTUP)
    assert isinstance(opened.packet, StartupMessage) and not opened.is_tls


def test_gssapi_encryption_is_refused_before_tls_and_inside_it() -> None:
    opened = opening()
    assert opened.feed(GSSENC) == [Answer(b"N")]
    assert opened.feed(SSL) == [Answer(b"S")]
    opened.feed(hello())
    assert opened.feed(GSSENC) == [Answer(b"N")]


def test_a_second_request_inside_tls_is_a_violation() -> None:
    opened = opening()
    opened.feed(SSL)
    opened.feed(hello())
    with pytest.raises(ProtocolViolation, match="SSL req inside SSL"):
        opened.feed(SSL)


@pytest.mark.parametrize(
    ("request_", "name"), [(SSL, "SSL"), (GSSENC, "GSSAPI encryption")], ids=["ssl", "gssenc"]
)
@pytest.mark.parametrize("behind", [hello(), STARTUP, b"\0"], ids=["hello", "startup", "a byte"])
def test_what_came_behind_a_request_is_an_error(request_: bytes, name: str, behind: bytes) -> None:
    with pytest.raises(PoolerError, match=f"received unencrypted data after {name} request"):
        opening().feed(request_ + behind)


def test_a_first_byte_of_tls_begins_it() -> None:
    said = hello("postgresql")
    for cut in range(len(said)):
        opened = opening()
        assert feed_cut(opened, said, cut) == [StartTls(said)]
        opened.feed(STARTUP)
        assert isinstance(opened.packet, StartupMessage)


def test_a_client_that_offers_no_application_protocol_may_begin_with_tls_as_well() -> None:
    said = hello()
    assert opening().feed(said) == [StartTls(said)]


@pytest.mark.parametrize("before", [b"", SSL])
def test_a_client_of_another_protocol_is_refused_with_tls_s_own_alert(before: bytes) -> None:
    opened = opening()
    if before:
        opened.feed(before)
    alert, refusal = opened.feed(hello("http/1.1"))
    assert isinstance(alert, Answer) and alert.data[:1] == b"\x15"
    assert isinstance(refusal, Refuse) and isinstance(refusal.error, TlsError)
    assert str(refusal.error) == "handshake failed: no application protocol"
    assert opened.awaits_tls


@pytest.mark.parametrize("before", [b"", GSSENC], ids=["first", "behind a request"])
def test_where_tls_is_off_or_too_late_its_first_byte_is_a_bad_packet(before: bytes) -> None:
    opened = opening(offers_tls=before != b"")
    if before:
        opened.feed(before)
    with pytest.raises(PoolerError, match="bad packet header"):
        opened.feed(hello())


def test_a_cancel_request_needs_no_tls() -> None:
    opened = opening()
    opened.feed(build.build_cancel_request(7, b"KEY!"))
    assert opened.packet == CancelRequest(7, b"KEY!")


def test_garbage_after_the_answer_goes_to_openssl() -> None:
    opened = opening()
    opened.feed(SSL)
    assert opened.feed(b"Q") == [StartTls(b"Q")]
