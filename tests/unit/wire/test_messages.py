"""MessageReader gives the same messages however the stream is cut, and bounds what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.errors import ProtocolViolation
from pgmux.wire import build, codes
from pgmux.wire.messages import MessageReader

MAX_LEN = 1000
MESSAGES = [
    build.build_authentication_ok(),
    build.build_parameter_status("server_version", "18.1"),
    build.build_copy_data(bytes(range(256))),
    build.build_sync(),
    build.build_data_row([None, b"", b"\0\0\0\0\0\0"]),
    build.build_ready_for_query(),
]
STREAM = b"".join(MESSAGES)
EXPECTED = [(message[0], message[5:]) for message in MESSAGES]
WRONG_LENGTHS = [0, 3, 2**30, 2**31 - 1, 2**31, 2**32 - 1]


def read(chunks: list[bytes], side: str = "server") -> list[tuple[int, bytes]]:
    reader = MessageReader(MAX_LEN, side)
    return [message for chunk in chunks for message in reader.feed(chunk)]


def test_a_stream_in_one_piece_gives_its_messages() -> None:
    assert read([STREAM]) == EXPECTED


def test_a_stream_byte_by_byte_gives_its_messages() -> None:
    assert read([STREAM[at : at + 1] for at in range(len(STREAM))]) == EXPECTED


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_cut_at_any_offset_gives_its_messages(at: int) -> None:
    assert read([STREAM[:at], STREAM[at:]]) == EXPECTED


@given(
    st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=50))),
    st.lists(st.integers(0, 600)),
)
def test_any_messages_cut_anyhow_come_back(
    messages: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(bytes((t,)) + (4 + len(b)).to_bytes(4, "big") + b for t, b in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read([stream[a:b] for a, b in pairwise(edges)]) == messages


@pytest.mark.parametrize("length", WRONG_LENGTHS)
@pytest.mark.parametrize("before", [b"", build.build_sync()])
def test_a_length_out_of_bounds_is_refused_before_the_body_comes(
    length: int, before: bytes
) -> None:
    reader = MessageReader(MAX_LEN, "client")
    stream = before + b"Q" + length.to_bytes(4, "big")
    with pytest.raises(ProtocolViolation, match=f"^bad packet header: '51{length:08x}'$") as error:
        list(reader.feed(stream))
    assert error.value.side == "client"


@pytest.mark.parametrize("length", WRONG_LENGTHS)
@pytest.mark.parametrize("at", range(1, 10))
def test_a_length_out_of_bounds_is_refused_however_it_is_cut(length: int, at: int) -> None:
    stream = b"D" + length.to_bytes(4, "big") + b"body"
    with pytest.raises(ProtocolViolation, match=r"^bad packet header: '44"):
        read([stream[:at], stream[at:]])


def test_messages_before_a_bad_one_are_given_first() -> None:
    reader = MessageReader(MAX_LEN, "client")
    messages = reader.feed(build.build_sync() + b"Q\0\0\0\3")
    assert next(messages) == (codes.SYNC, b"")
    with pytest.raises(ProtocolViolation):
        next(messages)


def test_the_error_shows_the_first_eight_bytes_in_hex() -> None:
    with pytest.raises(ProtocolViolation, match=r"^bad packet header: '4100000003666f6f'$"):
        read([b"A\0\0\0\3foobar"])


def test_a_message_of_just_the_maximum_is_read_and_one_byte_more_is_refused() -> None:
    largest = build.build_copy_data(b"x" * (MAX_LEN - 5))
    assert len(largest) == MAX_LEN
    assert read([largest]) == [(codes.COPY_DATA, largest[5:])]
    with pytest.raises(ProtocolViolation):
        read([build.build_copy_data(b"x" * (MAX_LEN - 4))[:5]])


def test_a_drained_reader_keeps_less_than_the_maximum() -> None:
    reader = MessageReader(MAX_LEN, "server")
    largest = build.build_copy_data(b"x" * (MAX_LEN - 5))
    assert len(list(reader.feed(largest * 50 + largest[:-1]))) == 50
    assert len(reader.rest()) == MAX_LEN - 1


def take(reader: MessageReader, chunks: Iterator[bytes], count: int) -> None:
    for chunk in chunks:
        for _ in reader.feed(chunk):
            count -= 1
            if not count:
                return


@pytest.mark.parametrize("count", range(1, len(MESSAGES) + 1))
def test_the_rest_starts_exactly_behind_the_last_message_taken(count: int) -> None:
    end = len(b"".join(MESSAGES[:count]))
    for at in range(len(STREAM) + 1):
        reader = MessageReader(MAX_LEN, "server")
        chunks = iter((STREAM[:at], STREAM[at:]))
        take(reader, chunks, count)
        assert reader.rest() + b"".join(chunks) == STREAM[end:]


def test_a_reader_is_empty_after_its_rest_was_taken() -> None:
    reader = MessageReader(MAX_LEN, "server")
    assert list(reader.feed(STREAM[:7])) == []
    assert reader.rest() == STREAM[:7]
    assert reader.rest() == b""
    assert list(reader.feed(STREAM)) == EXPECTED


def test_messages_left_by_a_consumer_that_stopped_are_given_at_the_next_feed() -> None:
    reader = MessageReader(MAX_LEN, "server")
    assert next(reader.feed(STREAM)) == EXPECTED[0]
    assert list(reader.feed(build.build_sync())) == [*EXPECTED[1:], (codes.SYNC, b"")]


@pytest.mark.parametrize("at", range(20))
def test_a_second_startup_message_is_named_as_such(at: int) -> None:
    stream = build.build_startup_message({"user": "mallory"})
    with pytest.raises(ProtocolViolation, match=r"^client re-sent startup pkt$"):
        read([stream[:at], stream[at:]], side="client")


@pytest.mark.parametrize(
    "stream", [build.build_ssl_request(), build.build_cancel_request(1, b"abcd"), bytes(8)]
)
def test_any_other_packet_without_type_is_a_bad_header(stream: bytes) -> None:
    with pytest.raises(ProtocolViolation, match=f"^bad packet header: '{stream[:8].hex()}'$"):
        read([stream], side="client")


def test_a_startup_message_from_a_server_is_a_bad_header() -> None:
    with pytest.raises(ProtocolViolation, match=r"^bad packet header: "):
        read([build.build_startup_message({"user": "u"})], side="server")


@given(st.lists(st.binary(max_size=30)))
def test_no_bytes_raise_anything_but_a_protocol_violation(chunks: list[bytes]) -> None:
    try:
        read(chunks, side="client")
    except ProtocolViolation as error:
        assert error.side == "client"
