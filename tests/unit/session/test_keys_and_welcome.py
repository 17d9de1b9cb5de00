"""Prepared statements by text, cancel keys, and the welcome."""

from __future__ import annotations

import gc
import hmac
from itertools import count
from typing import Any

import pytest

from pgmux.session import cancel
from pgmux.session.cancel import CancelKeys, build_key, find_peer_id, spend_ttl
from pgmux.session.prepare import Statements
from pgmux.session.varcache import VarSpace
from pgmux.session.welcome import build_welcome
from pgmux.wire import codes, parse
from pgmux.wire.messages import MessageReader

SELECT_1 = b"SELECT 1\0\0\0"
SELECT_2 = b"SELECT 2\0\0\0"


# Statements


def test_one_text_is_one_statement() -> None:
    statements = Statements()
    one = statements.find(SELECT_1)
    assert statements.find(SELECT_1) is one
    assert statements.find(SELECT_2) is not one
    assert len(statements) == 1  # nobody holds the second


def test_a_text_with_other_parameter_types_is_another_statement() -> None:
    statements = Statements()
    one = statements.find(b"SELECT $1\0\0\1\0\0\0\x17")
    assert statements.find(b"SELECT $1\0\0\1\0\0\0\x19") is not one


def test_a_statement_that_nobody_holds_is_forgotten() -> None:
    statements = Statements()
    kept = [statements.find(SELECT_1)]
    statements.find(SELECT_2)
    gc.collect()
    assert len(statements) == 1
    kept.clear()
    gc.collect()
    assert len(statements) == 0


def test_after_ddl_a_text_is_a_new_statement() -> None:
    statements = Statements()
    old = statements.find(SELECT_1)
    statements.outdate()
    assert len(statements) == 0
    new = statements.find(SELECT_1)
    assert new is not old
    assert statements.find(SELECT_1) is new


def test_numbers_are_shared_between_databases() -> None:
    numbers = count(1)
    one, two = Statements(numbers), Statements(numbers)
    held = [one.find(SELECT_1), two.find(SELECT_1), one.find(SELECT_1)]
    assert held[0] is not held[1]
    assert next(numbers) == 3


# Cancel keys


def test_a_key_is_made_of_the_random_bytes() -> None:
    assert build_key(b"\x00\x00\x12\x34KEY!") == (0x1234, b"KEY!")


def test_a_process_id_is_positive() -> None:
    assert build_key(b"\xff\xff\xff\xffKEY!") == (0x7FFFFFFF, b"KEY!")


def test_process_id_0_is_nobodys() -> None:
    assert not CancelKeys[str]().add(0, b"KEY!", "client")


def test_a_key_that_is_taken_is_nobody_elses() -> None:
    keys: CancelKeys[str] = CancelKeys()
    assert keys.add(7, b"KEY1", "one")
    assert not keys.add(7, b"KEY1", "two")
    assert (keys.find(7, b"KEY1"), len(keys)) == ("one", 1)


def test_clients_may_share_a_process_id() -> None:
    keys: CancelKeys[str] = CancelKeys()
    assert keys.add(7, b"KEY1", "one")
    assert keys.add(7, b"KEY2", "two")
    assert (keys.find(7, b"KEY1"), keys.find(7, b"KEY2"), len(keys)) == ("one", "two", 2)
    keys.remove(7, b"KEY1")
    assert (keys.find(7, b"KEY1"), keys.find(7, b"KEY2"), len(keys)) == (None, "two", 1)


def test_a_client_that_has_gone_cannot_be_cancelled() -> None:
    keys: CancelKeys[str] = CancelKeys()
    keys.add(7, b"KEY1", "one")
    keys.remove(7, b"KEY1")
    keys.remove(7, b"KEY1")
    assert (keys.find(7, b"KEY1"), len(keys)) == (None, 0)


@pytest.mark.parametrize("key", [b"", b"KEY2", b"KEY", b"KEY11", b"\xff" * 256])
def test_a_wrong_key_cancels_nobody(key: bytes) -> None:
    keys: CancelKeys[str] = CancelKeys()
    keys.add(7, b"KEY1", "one")
    assert keys.find(7, key) is None
    assert keys.find(8, b"KEY1") is None


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return hmac.compare_digest(one, two)

    monkeypatch.setattr(cancel, "hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    keys: CancelKeys[str] = CancelKeys()
    keys.add(7, b"KEY1", "one")
    assert keys.find(7, b"KEY2") is None
    assert compared == [(b"KEY1", b"KEY2")]


# Among peers


def test_among_peers_a_key_is_pgbouncers() -> None:
    pid, key = build_key(b"\xff\xaa\xaa\x11\x22\x33\x44\xf0", 0x1234)
    assert pid.to_bytes(4, "big") + key == b"\x7f\x34\x12\x11\x22\x33\x44\xf3"
    assert find_peer_id(pid) == 0x1234


@pytest.mark.parametrize("rest", [b"", b"rest of a long key"])
def test_a_request_is_passed_on_three_times(rest: bytes) -> None:
    _, key = build_key(bytes(8) + rest, 1)
    passed = []
    while (spent := spend_ttl(key)) is not None:
        passed.append(key := spent)
    assert passed == [b"\0\0\0" + bytes([ttl]) + rest for ttl in (2, 1, 0)]


def test_however_often_it_was_passed_on_it_is_found() -> None:
    keys: CancelKeys[str] = CancelKeys()
    pid, key = build_key(b"\1\0\0\1KEY\xf0", 9)
    keys.add(pid, key, "client")
    for last in b"\xf0\xf1\xf2\xf3":
        passed_on = key[:3] + bytes([last])
        assert keys.find(pid, passed_on, passed_on=True) == "client"
        assert (keys.find(pid, passed_on) == "client") == (last == 0xF3)
    assert keys.find(pid, key[:3] + b"\xf7", passed_on=True) is None


def test_a_key_from_before_there_were_peers_is_found() -> None:
    keys: CancelKeys[str] = CancelKeys()
    keys.add(7, b"KEY\0", "client")
    assert keys.find(7, b"KEY\0", passed_on=True) == "client"


# The welcome


def welcome(startup: dict[str, str], notice: str = "") -> list[tuple[int, bytes]]:
    space = VarSpace({"server_version": "17.2", "TimeZone": "UTC"}, ("search_path",))
    statuses = space.statuses(space.for_client(startup))
    data = build_welcome(statuses, (4711, b"KEY!"), notice)
    return list(MessageReader(10**6, "server").feed(data))


def parameters(messages: list[tuple[int, bytes]]) -> list[tuple[str, str]]:
    found: list[Any] = [
        parse.parse_parameter_status(body)
        for kind, body in messages
        if kind == codes.PARAMETER_STATUS
    ]
    return [(status.name, status.value) for status in found]


def test_a_welcome_is_what_a_server_would_say() -> None:
    messages = welcome({})
    assert [chr(kind) for kind, _ in messages] == ["R", "S", "S", "K", "Z"]
    assert parameters(messages) == [("server_version", "17.2"), ("TimeZone", "UTC")]
    key = parse.parse_backend_key_data(messages[3][1])
    assert (key.pid, key.key) == (4711, b"KEY!")


def test_a_client_is_told_its_own_values() -> None:
    told = parameters(welcome({"TimeZone": "CET", "search_path": "a", "server_version": "9"}))
    assert told == [("server_version", "17.2"), ("TimeZone", "CET")]


def test_a_notice_comes_before_ready_for_query() -> None:
    messages = welcome({}, "hello")
    assert [chr(kind) for kind, _ in messages][-2:] == ["N", "Z"]
    assert parse.parse_notice_response(messages[-2][1]).message == "hello"
