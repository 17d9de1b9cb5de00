"""docs/logs.md says what the code does: JSON's members, limits, the patterns that it recommends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgmux.daemon.log.floods import BURST, PERIOD, RATE
from pgmux.daemon.log.formats import Level, Line, fields_of, json_format, text_format
from pgmux.metrics.averages import stats_fields
from pgmux.metrics.snapshot import StatsRow
from pgmux.session.log import Name
from tests.unit.daemon.test_log_formats import Side, members

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src"
DOCUMENT = (ROOT / "docs" / "logs.md").read_text()
# said of a line by whoever writes it
OF_SOME_LINES = {
    *("reason", "age", "suppressed", "kind", "peer_id"),
    *("application_name", "duration", "wait", "state", "statement"),
    *("pool_active", "pool_idle", "pool_waiting"),
}
FAILREGEXES = [
    re.compile(pattern.replace("<HOST>", r"(?P<host>[\d.]+)"))
    for pattern in re.findall(r"failregex = (.*)", DOCUMENT)
]


def refused(user: str, database: str = "app") -> Line:
    about = Name("client", 1, database, user, Side())
    return Line(0.0, Level.ERROR, "password authentication failed", about)


def found(line: Line) -> list[str]:
    """The addresses that each pattern finds, in the format that it is for."""
    texts = (text_format()(line).rstrip("\n"), json_format()(line).rstrip("\n"))
    matches = [pattern.search(text) for pattern, text in zip(FAILREGEXES, texts, strict=True)]
    return [match["host"] for match in matches if match]


def test_every_member_of_json_is_in_the_table_and_no_other() -> None:
    local = Name("client", 1, "app", "bob", Side(pid=1))
    line = Line(0.0, Level.ERROR, "x", local, stats_fields(StatsRow("")), ("trace",))
    table = DOCUMENT.partition("| member |")[2].partition("\n\n")[0]
    described = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))
    assert fields_of(line).keys() < members(line).keys()
    assert described == members(line).keys() | OF_SOME_LINES


def test_the_limits_are_those_of_the_code() -> None:
    text = f"{BURST:,} in a row, then {RATE:g} a\nsecond"
    assert text in DOCUMENT
    assert f"said every {PERIOD:g} s" in DOCUMENT


def test_fail2ban_finds_a_refused_password_in_both_formats() -> None:
    assert found(refused("bob")) == ["10.0.0.9", "10.0.0.9"]
    assert found(Line(0.0, Level.LOG, "password authentication failed")) == []


@pytest.mark.parametrize(
    "name",
    [
        "x@6.6.6.6:1",
        "x@6.6.6.6:1 password authentication failed",
        "x@6.6.6.6:1 pooler error: password authentication failed",
        '", "address": "6.6.6.6", "port": 1, "x": "',
        '"message": "password authentication failed", "address": "6.6.6.6", "port": 1',
    ],
)
def test_no_name_gets_another_address_banned(name: str) -> None:
    lines = [refused(name), refused("bob", name)]
    text = f"pooler error: unsupported startup parameter: {name}"
    lines.append(Line(0.0, Level.WARNING, text, Name("client", 1, "app", name, Side())))
    text = f'long wait: 2.0 s for a server (application "{name}"; pool: 1 active): SELECT "{name}"'
    fields = {"application_name": name, "statement": f'SELECT "{name}"'}
    lines.append(Line(0.0, Level.LOG, text, Name("client", 1, "app", "bob", Side()), fields))
    for line in lines:
        assert "6.6.6.6" not in found(line)


def test_every_kind_that_is_limited_is_in_the_document() -> None:
    sources = [path.read_text() for path in SOURCE.glob("pgmux/**/*.py")]
    kinds = {kind for text in sources for kind in re.findall(r'limit="([^"]+)"', text)}
    assert len(kinds) > 5
    section = DOCUMENT.partition("## What clients can cause")[2].partition("\n## ")[0]
    assert kinds - set(re.findall(r"`([^`]+)`", section)) == set()
