"""SQLSTATEs: PostgreSQL's own table, and whatever else a server may send."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.ops.installation import find_bindir
from pgmux.wire.build import build_error_response
from pgmux.wire.sqlstate import CONDITIONS, UNKNOWN, find_condition, read_sqlstate


def postgres_table() -> dict[str, set[str]]:
    """Each code of the installed PostgreSQL's errcodes.txt, with all its names."""
    bindir = find_bindir()
    places = (bindir.parent / "share", Path("/usr/share/postgresql") / bindir.parent.name)
    texts = [place / "errcodes.txt" for place in places]
    found: dict[str, set[str]] = {}
    for line in next(text for text in texts if text.exists()).read_text().splitlines():
        words = line.split()
        if len(words) >= 3 and len(words[0]) == 5 and words[2].startswith("ERRCODE_"):
            name = words[3] if len(words) > 3 else words[2].removeprefix("ERRCODE_").lower()
            found.setdefault(words[0], set()).add(name)
    return found


def test_every_condition_has_the_name_that_postgresql_gives_it() -> None:
    table = postgres_table()
    assert len(table) > 250
    assert {code: CONDITIONS[code].name in names for code, names in table.items()} == dict.fromkeys(
        table, True
    )


@pytest.mark.parametrize(
    ("sqlstate", "found"),
    [
        ("23505", ("23505", "unique_violation")),
        ("23ABC", ("23000", "integrity_constraint_violation")),
        ("P0777", ("P0000", "plpgsql_error")),
        ("MY001", UNKNOWN),
        ("", UNKNOWN),
        ("23", UNKNOWN),
        ("23505x", UNKNOWN),
    ],
)
def test_an_unknown_sqlstate_is_its_classs(sqlstate: str, found: tuple[str, str]) -> None:
    assert find_condition(sqlstate) == found


def test_every_class_has_a_condition_of_its_own() -> None:
    assert {f"{code[:2]}000" for code in CONDITIONS} <= CONDITIONS.keys()


def test_the_sqlstate_is_read_from_an_error_that_is_cut_off() -> None:
    body = build_error_response("ERROR", "42601", "x" * 100, with_v=True)[5:]
    start = body.index(b"C42601")
    assert read_sqlstate(body) == "42601"
    assert read_sqlstate(body[: start + 6]) == "42601"
    assert read_sqlstate(body[:start]) == ""


@given(st.binary(max_size=60))
def test_whatever_a_server_sends_is_one_of_the_known_conditions(body: bytes) -> None:
    assert find_condition(read_sqlstate(body)) in {*CONDITIONS.values(), UNKNOWN}
