"""Session parameters: what is tracked, when two sets are the same, and what is sent to set them."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.session.varcache import UNKNOWN, VarSpace, build_set, differences
from pgmux.wire import codes, parse
from pgmux.wire.build import build_parameter_status
from pgmux.wire.messages import MessageReader

REPORTED = {
    "server_version": "17.2",
    "is_superuser": "off",
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "application_name": "",
}
UNREPORTED = ("statement_timeout", "search_path")


def space() -> VarSpace:
    return VarSpace(REPORTED, UNREPORTED)


def test_settable_reported_parameters_and_named_ones_are_tracked() -> None:
    assert space().names == (
        "client_encoding",
        "TimeZone",
        "application_name",
        "statement_timeout",
        "search_path",
    )


def test_a_named_parameter_that_is_reported_is_tracked_once() -> None:
    named = VarSpace(REPORTED | {"search_path": "public"}, ("SEARCH_PATH", "lock_timeout"))
    assert named.names[-2:] == ("search_path", "lock_timeout")
    assert named.unreported == {"lock_timeout"}


def test_equal_values_are_one_object() -> None:
    tracked = space()
    one = tracked.for_client({"TimeZone": "CET"})
    assert one is tracked.defaults.replace({"timezone": "CET"})
    assert one is not tracked.defaults
    assert one.replace({"TimeZone": "UTC"}) is tracked.defaults


def test_values_that_nobody_holds_are_forgotten() -> None:
    tracked = space()
    for number in range(10):
        tracked.for_client({"application_name": str(number)})
    gc.collect()
    assert len(tracked._interned) == 1


def test_names_are_found_in_any_case() -> None:
    wanted = space().for_client({"TIMEZONE": "CET"})
    assert wanted.get("timezone") == wanted.get("TimeZone") == "CET"


def test_what_is_not_tracked_is_ignored() -> None:
    tracked = space()
    assert tracked.for_client({"server_version": "9", "work_mem": "1"}) is tracked.defaults
    assert tracked.defaults.get("work_mem") is None


def test_a_server_carries_what_it_reported_and_startup_values_of_the_rest() -> None:
    carried = space().from_reported(REPORTED | {"TimeZone": "CET"})
    assert (carried.get("TimeZone"), carried.get("statement_timeout")) == ("CET", None)


def test_a_server_that_reports_less_has_unknown_startup_values() -> None:
    carried = space().from_reported({"client_encoding": "UTF8"})
    assert (carried.get("client_encoding"), carried.get("TimeZone")) == ("UTF8", None)


# Differences


def test_equal_sets_do_not_differ() -> None:
    tracked = space()
    assert differences(tracked.defaults, tracked.defaults) == {}


def test_only_what_differs_is_set() -> None:
    tracked = space()
    want = tracked.for_client({"TimeZone": "CET", "statement_timeout": "5s"})
    assert differences(tracked.defaults, want) == {"TimeZone": "CET", "statement_timeout": "5s"}
    assert differences(want, tracked.defaults) == {"TimeZone": "UTC", "statement_timeout": None}


def test_encodings_that_differ_in_case_alone_are_the_same() -> None:
    tracked = space()
    assert differences(tracked.defaults, tracked.for_client({"client_encoding": "utf8"})) == {}


@pytest.mark.parametrize("name", ["application_name", "search_path"])
def test_names_that_differ_in_case_alone_are_others(name: str) -> None:
    tracked = space()
    have, want = tracked.for_client({name: "acme"}), tracked.for_client({name: "Acme"})
    assert differences(have, want) == {name: "Acme"}


def test_long_spellings_are_not_remembered() -> None:
    tracked = space()
    tracked.learn("application_name", "x" * 60_000, "x" * 63)
    assert not tracked.canonical


def test_an_unknown_value_differs_from_all_others() -> None:
    tracked = space()
    have = tracked.defaults.replace({"search_path": UNKNOWN})
    assert differences(have, tracked.defaults) == {"search_path": None}
    want = tracked.for_client({"search_path": "a"})
    assert differences(have, want) == {"search_path": "a"}


# What is sent


def sent(changes: dict[str, str | None]) -> list[tuple[int, bytes]]:
    return list(MessageReader(10**6, "client").feed(build_set(changes)))


def test_parameters_are_set_in_one_query_with_bound_values() -> None:
    messages = sent({"TimeZone": "CET", "search_path": None})
    assert [kind for kind, _ in messages] == [
        codes.PARSE,
        codes.BIND,
        codes.EXECUTE,
        codes.SYNC,
    ]
    parsed = parse.parse_parse(messages[0][1])
    assert parsed.name == b""
    assert parsed.query == b"SELECT set_config($1, $2, false), set_config($3, $4, false)"
    assert parsed.oids == (25).to_bytes(4, "big") * 4
    bound = parse.parse_bind(messages[1][1])
    assert bound.parameters == (b"TimeZone", b"CET", b"search_path", None)


def test_an_unknown_value_is_never_sent() -> None:
    bound = parse.parse_bind(sent({"search_path": UNKNOWN})[1][1])
    assert bound.parameters == (b"search_path", None)


@given(st.text().filter(lambda text: text != UNKNOWN))
def test_any_value_is_sent_as_it_is(value: str) -> None:
    raw = value.encode("utf-8", "surrogateescape") if value.isprintable() else None
    if raw is not None:
        assert parse.parse_bind(sent({"application_name": value})[1][1]).parameters[1] == raw


def test_a_value_that_is_not_utf8_keeps_its_bytes() -> None:
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    bound = parse.parse_bind(sent({"application_name": value})[1][1])
    assert bound.parameters[1] == b"caf\xe9"


# The server's spelling


def test_what_the_server_made_of_a_value_is_remembered() -> None:
    tracked = space()
    tracked.learn("client_encoding", "utf-8", "UTF8")
    assert tracked.for_client({"CLIENT_ENCODING": "utf-8"}) is tracked.defaults


def test_a_spelling_belongs_to_one_parameter() -> None:
    tracked = space()
    tracked.learn("client_encoding", "utf-8", "UTF8")
    assert tracked.for_client({"application_name": "utf-8"}).get("application_name") == "utf-8"


@pytest.mark.parametrize("count", [1000, 5000])
def test_clients_cannot_fill_memory_with_spellings(count: int) -> None:
    tracked = space()
    for number in range(count):
        tracked.learn("TimeZone", str(number), "UTC")
    assert len(tracked.canonical) <= 1000
    assert tracked.for_client({"TimeZone": str(count - 1)}) is tracked.defaults


def test_the_newest_server_says_what_new_clients_are_told() -> None:
    tracked = space()
    old = tracked.for_client({})
    tracked.refresh({"server_version": "18.0", "TimeZone": "CET"})
    assert tracked.reported == REPORTED | {"server_version": "18.0", "TimeZone": "CET"}
    assert tracked.for_client({}).get("TimeZone") == "CET"
    assert old.get("TimeZone") == "UTC"
    assert build_parameter_status("server_version", "18.0") in tracked.statuses(old)
    assert build_parameter_status("TimeZone", "UTC") in tracked.statuses(old)
