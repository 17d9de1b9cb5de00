"""What opens a connection: packets without type byte, their errors, and `options`."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.errors import PoolerError, ProtocolViolation
from pgmux.wire import build, codes, startup
from pgmux.wire.parse import decode_text
from pgmux.wire.startup import (
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    StartupPacket,
    StartupReader,
    parse_options,
    parse_startup,
)

LAYOUT_ERROR = "^invalid startup packet layout: expected terminator as last byte$"
OPTIONS_ERROR = (
    "^unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed$"
)
texts = st.binary(max_size=30).map(lambda data: decode_text(data.replace(b"\0", b".")))

PACKETS: list[tuple[bytes, StartupPacket]] = [
    (build.build_ssl_request(), SSLRequest()),
    (build.build_gssenc_request(), GSSENCRequest()),
    (build.build_cancel_request(2**32 - 1, b"\0\1\2\3"), CancelRequest(2**32 - 1, b"\0\1\2\3")),
    (build.build_cancel_request(1, b"k" * 256), CancelRequest(1, b"k" * 256)),
    (
        build.build_startup_message({"user": "u", "database": "d", "_pq_.x": ""}),
        StartupMessage(3, 0, {"user": "u", "database": "d", "_pq_.x": ""}),
    ),
    (
        build.build_startup_message({"user": "u"}, codes.PROTOCOL_3_2),
        StartupMessage(3, 2, {"user": "u"}),
    ),
]


def packet(code: int, body: bytes = b"") -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body


def login(body: bytes) -> bytes:
    return packet(codes.PROTOCOL_3_0, body)


@pytest.mark.parametrize(("raw", "expected"), PACKETS)
def test_a_packet_in_one_piece_is_read(raw: bytes, expected: StartupPacket) -> None:
    assert parse_startup(raw) == expected
    assert StartupReader().feed(raw) == expected


@pytest.mark.parametrize(("raw", "expected"), PACKETS)
def test_a_packet_byte_by_byte_is_read_with_its_last_byte(
    raw: bytes, expected: StartupPacket
) -> None:
    reader = StartupReader()
    answers = [reader.feed(raw[at : at + 1]) for at in range(len(raw))]
    assert answers == [None] * (len(raw) - 1) + [expected]


@pytest.mark.parametrize(("raw", "expected"), PACKETS)
def test_a_packet_cut_at_any_offset_is_read(raw: bytes, expected: StartupPacket) -> None:
    for at in range(len(raw)):
        reader = StartupReader()
        assert reader.feed(raw[:at]) is None
        assert reader.feed(raw[at:]) == expected
        assert reader.rest() == b""


def test_a_reader_goes_on_after_a_refused_encryption() -> None:
    reader = StartupReader()
    assert reader.feed(build.build_gssenc_request()) == GSSENCRequest()
    assert reader.feed(build.build_ssl_request()) == SSLRequest()
    assert reader.feed(build.build_ssl_request()) == SSLRequest()
    login_packet = build.build_startup_message({"user": "u"})
    assert reader.feed(login_packet) == StartupMessage(3, 0, {"user": "u"})


@pytest.mark.parametrize(
    ("request_packet", "words"),
    [
        (build.build_ssl_request(), "SSL request"),
        (build.build_gssenc_request(), "GSSAPI encryption request"),
    ],
)
def test_bytes_behind_an_encryption_request_are_refused(request_packet: bytes, words: str) -> None:
    with pytest.raises(PoolerError, match=f"^received unencrypted data after {words}$"):
        StartupReader().feed(request_packet + b"\0")


def test_bytes_behind_a_startup_message_wait_in_the_rest() -> None:
    reader = StartupReader()
    reader.feed(build.build_startup_message({"user": "u"}) + b"p\0\0")
    assert reader.rest() == b"p\0\0"
    assert reader.rest() == b""


@pytest.mark.parametrize("length", [0, 3, 4, 7, 65536, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize(
    "code", [codes.PROTOCOL_3_0, codes.SSL_REQUEST, codes.CANCEL_REQUEST, codes.PROTOCOL_2_0]
)
def test_a_length_out_of_bounds_is_a_bad_header_at_once(length: int, code: int) -> None:
    head = length.to_bytes(4, "big") + code.to_bytes(4, "big")
    with pytest.raises(PoolerError, match=f"^bad packet header: '{head.hex()}'$"):
        StartupReader().feed(head)


@pytest.mark.parametrize("code", [0, 1, 0x20001, 0x40000, 80877101, 80877105, 2**32 - 1])
def test_an_unknown_code_is_a_bad_header_at_once(code: int) -> None:
    head = (32).to_bytes(4, "big") + code.to_bytes(4, "big")
    with pytest.raises(PoolerError, match=f"^bad packet header: '{head.hex()}'$"):
        StartupReader().feed(head + b"more")


def test_an_unknown_version_is_told_as_pgbouncer_tells_it() -> None:
    with pytest.raises(PoolerError) as error:
        StartupReader().feed(bytes.fromhex("0000002000040000"))
    assert error.value.message == "bad packet header: '0000002000040000'"
    assert (error.value.sqlstate, error.value.fatal) == ("08P01", True)


def test_protocol_2_is_refused_by_its_name() -> None:
    with pytest.raises(PoolerError, match=r"^old V2 protocol not supported$"):
        StartupReader().feed(packet(codes.PROTOCOL_2_0, b"x" * 288)[:8])


def test_an_encryption_request_with_a_body_is_a_bad_header() -> None:
    with pytest.raises(PoolerError, match=r"^bad packet header: '0000000904d2162f'$"):
        StartupReader().feed(packet(codes.SSL_REQUEST, b"x"))


def test_a_password_before_the_startup_packet_is_named_as_such() -> None:
    with pytest.raises(PoolerError, match=r"^client password pkt before startup packet$"):
        StartupReader().feed(build.build_password_message("secret"))
    with pytest.raises(PoolerError, match=r"^client password pkt before startup packet$"):
        StartupReader().feed(b"p\0\0\0\5")


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\0\x01"])
def test_another_protocol_is_a_bad_header(stream: bytes) -> None:
    with pytest.raises(PoolerError, match=f"^bad packet header: '{stream[:8].hex()}'$"):
        StartupReader().feed(stream)


def test_a_typed_message_is_refused_by_its_header_alone() -> None:
    reader = StartupReader()
    assert reader.feed(b"Q\0\0\0") is None
    with pytest.raises(PoolerError, match=r"^bad packet header: '5100000005'$"):
        reader.feed(b"\5")


@pytest.mark.parametrize("raw", [b"", b"\0\0\0\x08", login(b"user\0u\0\0") + b"x"])
def test_a_packet_that_is_not_as_long_as_it_says_is_a_bad_header(raw: bytes) -> None:
    with pytest.raises(PoolerError, match=r"^bad packet header: "):
        parse_startup(raw)


@pytest.mark.parametrize("minor", [1, 2, 9999, 0xFFFF])
def test_any_minor_version_of_3_is_read(minor: int) -> None:
    parsed = parse_startup(packet(codes.PROTOCOL_3_0 | minor, b"user\0u\0\0"))
    assert parsed == StartupMessage(3, minor, {"user": "u"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user",
        b"user\0",
        b"user\0u",
        b"user\0u\0",
        b"user\0\0",
        b"user\0u\0\0x",
        b"user\0u\0\0\0",
        b"user\0u\0\0database\0d\0\0",
        b"user\0u\0\0d\0\0",
        b"user\0u\0database\0\0",
    ],
)
def test_a_body_that_does_not_end_with_its_terminator_is_refused(body: bytes) -> None:
    with pytest.raises(PoolerError, match=LAYOUT_ERROR):
        parse_startup(login(body))


@pytest.mark.parametrize("body", [b"\0", b"database\0d\0\0", b"user\0\0\0"])
def test_a_login_without_a_user_is_refused(body: bytes) -> None:
    with pytest.raises(PoolerError, match=r"^no username supplied$"):
        parse_startup(login(body))


def test_the_user_is_the_default_database() -> None:
    for body in (b"user\0u\0\0", b"user\0u\0database\0\0\0"):
        parsed = parse_startup(login(body))
        assert isinstance(parsed, StartupMessage)
        assert (parsed.user, parsed.database) == ("u", "u")
    named = StartupMessage(3, 0, {"user": "u", "database": "d"})
    assert (named.user, named.database) == ("u", "d")


def test_parameters_keep_their_order_and_the_last_of_equal_ones_counts() -> None:
    parsed = parse_startup(login(b"b\0002\0user\0u\0a\0001\0user\0v\0\0"))
    assert isinstance(parsed, StartupMessage)
    assert list(parsed.parameters.items()) == [("b", "2"), ("user", "v"), ("a", "1")]


def test_protocol_extensions_are_told_from_parameters() -> None:
    parsed = StartupMessage(3, 0, {"_pq_.b": "1", "user": "u", "_pq_.a": "", "_pqx": ""})
    assert parsed.extensions == ("_pq_.b", "_pq_.a")


@given(st.dictionaries(texts.filter(bool), texts), texts.filter(bool), st.integers(0, 0xFFFF))
def test_a_startup_message_comes_back(parameters: dict[str, str], user: str, minor: int) -> None:
    parameters["user"] = user
    built = build.build_startup_message(parameters, codes.PROTOCOL_3_0 | minor)
    parsed = parse_startup(built)
    assert parsed == StartupMessage(3, minor, parameters)
    assert list(parsed.parameters) == list(parameters)


def test_a_name_that_is_not_utf_8_keeps_its_bytes() -> None:
    raw = login(b"user\0caf\xe9\0\0")
    parsed = parse_startup(raw)
    assert isinstance(parsed, StartupMessage)
    assert build.build_startup_message(parsed.parameters) == raw


@pytest.mark.parametrize("body", [b"", b"\0\0\0\1", b"\0\0\0\1abc", b"\0\0\0\1" + b"k" * 257])
def test_a_cancel_request_of_a_wrong_length_closes_without_a_word(body: bytes) -> None:
    with pytest.raises(ProtocolViolation, match=r"^bad cancel request$"):
        parse_startup(packet(codes.CANCEL_REQUEST, body))


def test_a_packet_of_the_largest_length_is_read() -> None:
    parameters = {"user": "u", "options": ""}
    room = startup.MAX_PACKET_LEN - len(build.build_startup_message(parameters))
    raw = build.build_startup_message(parameters | {"options": "x" * room})
    assert len(raw) == startup.MAX_PACKET_LEN
    assert isinstance(parse_startup(raw), StartupMessage)


def test_ten_thousand_parameters_are_read_in_one_pass() -> None:
    body = b"user\0u\0" + b"".join(b"%x\0\0" % number for number in range(10_000)) + b"\0"
    started = time.process_time()
    parsed = parse_startup(login(body))
    assert isinstance(parsed, StartupMessage)
    assert len(parsed.parameters) == 10_001
    assert time.process_time() - started < 1


@given(st.lists(st.binary(max_size=30)))
def test_no_bytes_raise_anything_but_the_documented_errors(chunks: list[bytes]) -> None:
    reader = StartupReader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except (PoolerError, ProtocolViolation) as error:
        assert error.message


@given(st.sampled_from([raw for raw, _ in PACKETS]), st.data())
def test_a_changed_byte_raises_nothing_but_the_documented_errors(
    raw: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes((data.draw(st.integers(0, 255)),)) + raw[at + 1 :]
    try:
        StartupReader().feed(changed)
    except (PoolerError, ProtocolViolation) as error:
        assert error.message


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", []),
        ("  ", []),
        ("-c a=b", [("a", "b")]),
        ("-ca=b", [("a", "b")]),
        ("--a=b", [("a", "b")]),
        (" \t-c\n a=b  --c=d -ce=f ", [("a", "b"), ("c", "d"), ("e", "f")]),
        ("-c a=", [("a", "")]),
        ("-c a=b=c", [("a", "b=c")]),
        ("-c a=1 -c a=2", [("a", "1"), ("a", "2")]),
        (r"-c search_path=a,\ b", [("search_path", "a, b")]),
        (r"-c a=\\\-\b", [("a", "\\-b")]),
        ("-c a=b\\", [("a", "b")]),
        ("--statement-timeout=5s", [("statement_timeout", "5s")]),
        ("-c statement-timeout=-1", [("statement_timeout", "-1")]),
        ("-c a=\xa0b", [("a", "\xa0b")]),
        ("-c a=\udce9", [("a", "\udce9")]),
    ],
)
def test_options_are_read_as_postgresql_reads_them(
    text: str, settings: list[tuple[str, str]]
) -> None:
    assert parse_options(text) == settings


@pytest.mark.parametrize(
    "text",
    [
        *("-c", "-c ", "--", "-c a", "--a", "a=b", "-d a=b", "-c a=b x", "-", "-c a =b"),
        *("-c=", "-c =", "-c =x", "--=", "--=x", "-c a=b -c=", "-c -c a=b", "\\", "\\ "),
    ],
)
def test_options_of_any_other_form_are_refused(text: str) -> None:
    """CVE-2026-107349: an empty name is an error here, where it was an endless loop."""
    with pytest.raises(PoolerError, match=OPTIONS_ERROR):
        parse_options(text)


@given(
    st.lists(
        st.tuples(
            st.text("abc_", min_size=1), st.text(st.characters(exclude_characters="\0"), max_size=9)
        )
    )
)
def test_escaped_options_come_back(settings: list[tuple[str, str]]) -> None:
    words = [f"-c {name}=" + "".join(f"\\{char}" for char in value) for name, value in settings]
    assert parse_options(" ".join(words)) == settings


@given(st.text("-c= \\ab\t"))
def test_no_options_raise_anything_but_a_pooler_error(text: str) -> None:
    try:
        assert all(name for name, _ in parse_options(text))
    except PoolerError as error:
        assert error.message


@pytest.mark.parametrize("unit", ["-ca=b ", "\\", "\\ ", " ", "-", "a"])
def test_the_longest_options_are_read_in_one_pass(unit: str) -> None:
    text = unit * (startup.MAX_PACKET_LEN // len(unit))
    started = time.process_time()
    try:
        parse_options(text)
    except PoolerError as error:
        assert error.message.startswith("unsupported options")
    assert time.process_time() - started < 1
