"""The same line as text, JSON, syslog's datagram and the journal's: what becomes of a hostile name
in each.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.daemon.log.formats import (
    Level,
    Line,
    journal_datagram,
    json_format,
    one_line,
    syslog_datagram,
    text_format,
)
from pgmux.session.log import Name


@dataclass(frozen=True)
class Side:
    host: str = "10.0.0.9"
    port: int = 4711
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


AT = 1795162925.4309
CLIENT = Name("client", 0x2F, "app", "bob", Side())
LOCAL = Name("client", 3, "app", "bob", Side("unix", 6432, 99))


def ended(about: Name) -> Line:
    text = "closing because: client close request (age=3s)"
    return Line(AT, Level.LOG, text, about, {"reason": "client close request", "age": 3})


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def members(line: Line) -> dict[str, object]:
    text = json_format()(line)
    assert text.endswith("}\n")
    assert len(text.splitlines()) == 1
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def entry(line: Line) -> dict[str, bytes]:
    """A journal datagram, taken apart as journald does it."""
    data, fields = journal_datagram(line, "pgbouncer"), {}
    while data:
        first, _, data = data.partition(b"\n")
        name, equals, value = first.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        fields[name.decode()] = value
    return fields


def test_the_text_has_pgbouncers_prefix(zone: None) -> None:
    assert text_format()(ended(CLIENT)) == (
        f"2026-11-20 13:52:05.430 IST [{os.getpid()}] LOG C-0x2f: app/bob@10.0.0.9:4711"
        " closing because: client close request (age=3s)\n"
    )


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        (Name("client", 1, "", "", Side()), "C-0x1: (nodb)/(nouser)@10.0.0.9:4711"),
        (Name("server", 255, "app", "bob", None), "S-0xff: app/bob@(bad-af):0"),
    ],
)
def test_what_is_not_known_yet_is_said_as_pgbouncer_says_it(name: Name, prefix: str) -> None:
    assert str(name) == prefix


def test_json_has_the_connection_and_the_reason_as_members(zone: None) -> None:
    assert members(ended(CLIENT)) == {
        "time": "2026-11-20T13:52:05.430+05:30",
        "level": "LOG",
        "pid": os.getpid(),
        "message": "closing because: client close request (age=3s)",
        "side": "client",
        "id": 47,
        "database": "app",
        "user": "bob",
        "address": "10.0.0.9",
        "port": 4711,
        "reason": "client close request",
        "age": 3,
    }


def test_the_process_behind_a_unix_socket_is_a_member() -> None:
    found = members(ended(LOCAL))
    assert (found["address"], found["port"], found["peer_pid"]) == ("unix", 6432, 99)


def test_a_line_about_no_connection_has_no_members_of_one() -> None:
    assert members(Line(AT, Level.WARNING, "x")).keys() == {"time", "level", "pid", "message"}


@given(st.text(st.characters()), st.text(st.characters()))
def test_whatever_a_name_is_json_stays_one_object_and_its_members(database: str, user: str) -> None:
    found = members(ended(Name("client", 1, database, user, Side())))
    assert (found["database"], found["user"]) == (one_line(database), one_line(user))
    assert found["side"] == "client"
    assert found["reason"] == "client close request"


@given(st.text(st.characters()))
def test_whatever_a_name_is_the_journal_gets_the_same_fields(user: str) -> None:
    found = entry(ended(Name("client", 1, "app", user, Side())))
    assert found["PGMUX_USER"].decode() == one_line(user)
    assert found["PGMUX_REASON"] == b"client close request"
    assert len(found) == 11


def test_the_traceback_is_one_member() -> None:
    found = members(Line(AT, Level.ERROR, "bug", traceback=("Traceback:", "  x\n2026 y")))
    assert found["traceback"] == "Traceback:\n  x\\n2026 y"


def test_the_journal_gets_pgbouncers_text_without_time_and_pid() -> None:
    found = entry(ended(CLIENT))
    text = b"C-0x2f: app/bob@10.0.0.9:4711 closing because: client close request (age=3s)"
    assert found["MESSAGE"] == text
    assert found["SYSLOG_IDENTIFIER"] == b"pgbouncer"
    assert (found["PRIORITY"], found["PGMUX_ID"], found["PGMUX_AGE"]) == (b"6", b"47", b"3")


def test_a_traceback_in_the_journal_is_one_message() -> None:
    found = entry(Line(AT, Level.ERROR, "bug", CLIENT, traceback=("Traceback:", "  x")))
    assert found["MESSAGE"].endswith(b" bug\n\tTraceback:\n\t  x")
    assert found["PGMUX_USER"] == b"bob"


@pytest.mark.parametrize(
    ("level", "severity"), list(zip(Level, (2, 3, 4, 6, 7, 7), strict=True)), ids=str
)
def test_severities_are_pgbouncers(level: Level, severity: int) -> None:
    line = Line(AT, level, "x")
    assert syslog_datagram(line, 16 << 3, "me").startswith(b"<%d>" % (128 + severity))
    assert entry(line)["PRIORITY"] == b"%d" % severity


def test_syslog_gets_what_the_c_library_sends(zone: None) -> None:
    sent = syslog_datagram(Line(AT, Level.LOG, "process up"), 24, "pgb").decode()
    assert re.fullmatch(rf"<30>Nov 20 13:52:05 pgb\[{os.getpid()}\]: process up", sent)


@given(st.text(st.characters(), min_size=400, max_size=4000))
def test_no_text_is_longer_than_pgbouncers_buffer(text: str) -> None:
    assert len(one_line(text).encode()) <= 2047
