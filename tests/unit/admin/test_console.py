from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.admin.console import CHUNK_LEN, MAX_HELD_LEN, MAX_STEPS, Console
from pgmux.admin.outcome import Waiting
from pgmux.errors import LocalProtocolError
from pgmux.wire import build
from tests.unit.admin.pooler import CLIENT, QUIET_SOCKET, SOCKET, FakePooler, FakeSnapshot
from tests.unit.admin.talk import IN_BLOCK, READY, error, messages, new_console, rows, tag, types

query = build.build_query


def fatal(data: bytes, console: Console | None = None) -> str:
    """The FATAL message with which `data` ends the connection."""
    reply = (console or new_console()).feed(data)
    fields = error(reply.data)
    assert (fields["S"], fields["C"]) == ("FATAL", "08P01")
    assert reply.reason == fields["M"]
    return fields["M"]


# Login


def test_the_welcome_is_pgbouncers() -> None:
    parameters = [body.rstrip(b"\0").split(b"\0") for _, body in messages(welcome("psql"))]
    assert parameters == [
        [b"server_version", b"1.25.2/bouncer"],
        [b"client_encoding", b"UTF8"],
        [b"server_encoding", b"UTF8"],
        [b"DateStyle", b"ISO"],
        [b"TimeZone", b"GMT"],
        [b"standard_conforming_strings", b"on"],
        [b"is_superuser", b"on"],
        [b"application_name", b"psql"],
    ]


def welcome(application_name: str | None) -> bytes:
    return new_console().welcome(application_name)


def test_an_application_without_a_name_is_told_none() -> None:
    assert b"application_name" not in welcome(None)
    assert welcome("").endswith(b"S\0\0\0\x16application_name\0\0")


# The stream

STREAM = (
    query("SHOW VERSION")
    + query("nothing")
    + build.build_parse("s1", "SHOW POOLS")
    + build.build_bind("", "s1", result_formats=[1])
    + build.build_describe(ord("P"), "")
    + build.build_execute()
    + build.build_sync()
    + build.build_parse("", "nothing")
    + build.build_execute()
    + build.build_sync()
    + query("PAUSE app")
    + build.build_terminate()
)


def answer(pieces: list[bytes]) -> bytes:
    console = new_console()
    replies = [console.feed(piece) for piece in pieces]
    assert replies[-1].reason == "client close request"
    return b"".join(reply.data for reply in replies)


def test_a_stream_is_answered_alike_whole_bytewise_and_cut_anywhere() -> None:
    whole = answer([STREAM])
    assert types(whole) == "TDCZ" + "EZ" + "12TDCZ" + "EZ" + "CZ"
    assert answer([STREAM[i : i + 1] for i in range(len(STREAM))]) == whole
    for at in range(1, len(STREAM)):
        assert answer([STREAM[:at], STREAM[at:]]) == whole


def test_a_query_ends_at_its_first_nul() -> None:
    data = new_console().feed(b"Q\0\0\0\x10SHOW STATE\0?").data
    assert types(data) == "TDDDCZ"


def test_terminate_closes_without_a_word_and_nothing_behind_it_is_answered() -> None:
    console = new_console()
    reply = console.feed(build.build_terminate() + query("SHOW VERSION"))
    assert (reply.data, reply.reason) == (b"", "client close request")
    assert console.feed(query("SHOW VERSION")).data == b""


# Hostile input


@pytest.mark.parametrize("length", [0, 3, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_that_no_message_has_is_a_bad_header(length: int) -> None:
    head = b"Q" + length.to_bytes(4, "big")
    assert fatal(head + b"show") == f"bad packet header: '{(head + b'sho').hex()}'"


@pytest.mark.parametrize("length", [17_000, 1_000_000, 2**30, 2**31 - 2])
def test_a_message_that_is_too_long_is_refused_by_its_header(length: int) -> None:
    assert fatal(b"Q" + length.to_bytes(4, "big")) == "incomplete pkt"


def test_a_query_of_a_megabyte_is_refused() -> None:
    assert fatal(query("x" * 1_000_000)) == "incomplete pkt"


@pytest.mark.parametrize("body", [b"", b"SHOW VERSION"])
def test_a_query_without_its_nul_is_incomplete(body: bytes) -> None:
    assert fatal(b"Q" + (4 + len(body)).to_bytes(4, "big") + body) == "incomplete query"


@pytest.mark.parametrize("message_type", b"p!1zZa\xff")
def test_a_type_that_no_client_sends_is_unknown(message_type: int) -> None:
    assert fatal(bytes((message_type, 0, 0, 0, 4))) == "unknown pkt"


@pytest.mark.parametrize("message_type", b"Fdcf")
def test_function_calls_and_copy_are_refused_and_close(message_type: int) -> None:
    reply = new_console().feed(bytes((message_type, 0, 0, 0, 4)) + query("SHOW VERSION"))
    assert types(reply.data) == "EZE"
    text = f"unsupported packet type for admin console: {message_type}"
    assert [message for _, message in reply.errors] == [text, "bad packet"]
    assert reply.reason == "bad packet"


@pytest.mark.parametrize("message_type", b"PBDEC")
def test_a_message_that_cannot_be_read_closes(message_type: int) -> None:
    assert fatal(bytes((message_type, 0, 0, 0, 4))).startswith("broken ")


def test_a_second_startup_message_closes() -> None:
    assert fatal(build.build_startup_message({"user": "x"})) == "client re-sent startup pkt"


def test_zeros_are_a_bad_header() -> None:
    assert fatal(b"\0" * 9) == "bad packet header: '0000000000000000'"


@settings(max_examples=300)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.builds(
            lambda kind, body: bytes((kind,)) + (4 + len(body)).to_bytes(4, "big") + body,
            st.sampled_from(b"QPBDECHSXFdp"),
            st.binary(max_size=30),
        )
        | st.builds(query, st.sampled_from(["SHOW VERSION", "PAUSE", "BEGIN", "KILL", "SHUTDOWN"]))
        | st.builds(build.build_parse, st.sampled_from(["", "a"]), st.just("SHOW STATS"))
        | st.builds(build.build_bind, st.sampled_from(["", "p"]), st.sampled_from(["", "a"]))
        | st.builds(build.build_execute, st.sampled_from(["", "p"]), st.integers(-2, 3))
        | st.just(build.build_sync()),
        max_size=12,
    )
)
def test_whatever_is_sent_is_answered_with_whole_messages(pieces: list[bytes]) -> None:
    console = new_console(FakePooler(servers_left=True))
    for piece in pieces:
        reply = console.feed(piece)
        messages(reply.data)
        if reply.waiting is not None:
            messages(console.cancel().data)


# Long answers


def many_clients(count: int) -> FakePooler:
    return FakePooler(snapshot=FakeSnapshot([CLIENT] * count))


def test_a_long_answer_comes_in_pieces() -> None:
    console = new_console(many_clients(2000))
    reply = console.feed(query("SHOW CLIENTS") + query("SHOW VERSION"))
    data = b""
    while reply.more:
        assert 0 < len(reply.data) < CHUNK_LEN and len(messages(reply.data)) <= MAX_STEPS
        data += reply.data
        reply = console.feed(b"")
    data += reply.data
    assert types(data) == "T" + 2000 * "D" + "CZ" + "TDCZ"


def test_long_pieces_are_as_few_as_fit_a_chunk() -> None:
    row = replace(CLIENT, application_name=5000 * "x")
    console = new_console(FakePooler(snapshot=FakeSnapshot([row] * 40)))
    reply = console.feed(query("SHOW CLIENTS"))
    assert reply.more and CHUNK_LEN <= len(reply.data) < CHUNK_LEN + 6000


def test_rows_that_are_looked_at_and_not_shown_take_turns_too() -> None:
    snapshot = FakeSnapshot(socket_rows=[QUIET_SOCKET] * 1000 + [SOCKET])
    console = new_console(FakePooler(snapshot=snapshot))
    replies = [console.feed(query("SHOW ACTIVE_SOCKETS"))]
    while replies[-1].more:
        replies.append(console.feed(b""))
    assert len(replies) > 1000 // MAX_STEPS
    assert types(b"".join(reply.data for reply in replies)) == "TDCZ"


def test_rows_that_are_not_shown_are_none_of_those_that_an_execute_asks_for() -> None:
    snapshot = FakeSnapshot(socket_rows=[QUIET_SOCKET, SOCKET, QUIET_SOCKET, SOCKET, QUIET_SOCKET])
    console = new_console(FakePooler(snapshot=snapshot))
    begin = build.build_parse("", "SHOW ACTIVE_SOCKETS") + build.build_bind("", "")
    asked = begin + 3 * build.build_execute(max_rows=1) + build.build_sync()
    assert types(console.feed(asked).data) == "12DsDsCZ"


def test_many_long_answers_asked_for_at_once_are_not_kept_in_memory() -> None:
    console = new_console(many_clients(1000))
    reply = console.feed(500 * query("SHOW CLIENTS"))
    assert reply.more and len(reply.data) < CHUNK_LEN + 1000


def test_a_client_that_floods_instead_of_reading_is_closed() -> None:
    console = new_console(many_clients(1000))
    assert console.feed(query("SHOW CLIENTS")).more
    flood = 1000 * query("SHOW CLIENTS")
    replies = [console.feed(flood) for _ in range(MAX_HELD_LEN // len(flood) + 1)]
    assert replies[-1].reason == "bad packet"
    assert sum(len(reply.data) for reply in replies) < 10 * CHUNK_LEN


# Commands that wait


def waiting_console(command: str = "PAUSE") -> tuple[Console, FakePooler]:
    pooler = FakePooler(servers_left=True)
    console = new_console(pooler)
    reply = console.feed(query(command))
    assert reply.data == b"" and reply.waiting is not None
    return console, pooler


def test_a_pause_is_answered_when_the_servers_are_gone() -> None:
    console, _ = waiting_console("PAUSE app")
    assert console.feed(b"").waiting == Waiting("PAUSE", "app")
    reply = console.complete()
    assert reply.waiting is None
    assert tag(reply.data) == "PAUSE" and reply.data.endswith(READY)


def test_queries_behind_a_waiting_one_are_answered_after_it() -> None:
    console, _ = waiting_console("WAIT_CLOSE")
    assert console.feed(query("SHOW VERSION")).data == b""
    assert types(console.complete().data) == "CZ" + "TDCZ"


def test_a_cancelled_pause_resumes_and_says_so() -> None:
    console, pooler = waiting_console("PAUSE app")
    console.feed(query("SHOW STATE"))
    reply = console.cancel()
    assert pooler.calls == [("pause", "app"), ("resume", "app")]
    assert pooler.lines[-1] == "PAUSE was cancelled, resuming"
    assert error(reply.data)["C"] == "57014"
    assert types(reply.data) == "EZ" + "TDDDCZ"
    assert reply.waiting is None


def test_a_cancelled_pause_is_not_resumed_while_the_pooler_shuts_down() -> None:
    console, pooler = waiting_console("PAUSE")
    pooler.is_shutting_down = True
    assert types(console.cancel().data) == "EZ"
    assert pooler.calls == [("pause", None)]


def test_a_cancelled_wait_close_resumes_nothing() -> None:
    console, pooler = waiting_console("WAIT_CLOSE app")
    assert types(console.cancel().data) == "EZ"
    assert pooler.calls == [("wait_close", "app")]


def test_a_pause_in_an_extended_query_waits_and_its_cancel_skips_to_sync() -> None:
    start = build.build_parse("", "PAUSE") + build.build_bind("", "") + build.build_execute()
    for end, expected in ((Console.complete, "CZ"), (Console.cancel, "EZ")):
        console = new_console(FakePooler(servers_left=True))
        reply = console.feed(start + build.build_sync())
        assert types(reply.data) == "12" and reply.waiting == Waiting("PAUSE", None)
        assert types(end(console).data) == expected


def test_a_shutdown_is_not_cancelled() -> None:
    console = new_console()
    console.feed(query("SHUTDOWN"))
    reply = console.cancel()
    assert reply.data == b"" and reply.waiting == Waiting("SHUTDOWN", None)


def test_a_cancel_of_a_console_that_does_not_wait_does_nothing() -> None:
    pooler = FakePooler(is_paused=True)
    reply = new_console(pooler).cancel()
    assert (reply.data, reply.waiting, pooler.calls) == (b"", None, [])


def test_completing_what_does_not_wait_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        new_console().complete()


def test_a_client_that_floods_while_it_waits_is_closed() -> None:
    console, _ = waiting_console()
    assert console.feed(b"Q" * (MAX_HELD_LEN - 50)).reason is None
    assert fatal(b"Q" * 100, console) == "bad packet"


def test_what_came_before_a_pause_does_not_count_against_it() -> None:
    pooler = FakePooler(servers_left=True)
    console = new_console(pooler)
    for _ in range(5000):
        console.feed(query("SHOW VERSION"))
    assert console.feed(query("PAUSE")).waiting is not None
    assert console.feed(query("SHOW VERSION")).reason is None


# Transactions, for drivers that need them


def test_a_transaction_is_nothing_but_its_status() -> None:
    console = new_console()
    data = console.feed(query("BEGIN")).data
    assert tag(data) == "BEGIN" and data.endswith(IN_BLOCK)
    assert console.feed(query("SHOW VERSION")).data.endswith(IN_BLOCK)
    assert console.feed(query("nothing")).data.endswith(IN_BLOCK)
    data = console.feed(query("ROLLBACK")).data
    assert tag(data) == "ROLLBACK" and data.endswith(READY)
    data = console.feed(query("COMMIT")).data
    assert tag(data) == "COMMIT" and data.endswith(READY)


def test_a_user_who_is_no_admin_may_begin() -> None:
    console = new_console(is_admin=False)
    assert tag(console.feed(query("start transaction read only")).data) == "BEGIN"
    assert rows(console.feed(query("SHOW TimeZone")).data) == [("GMT",)]
