"""An ident file: its maps, its broken lines, and anything at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.config.hba import IdentMap, Mapping
from pgmux.config.ident_file import MAX_REPORTED_LINES, parse_ident


def test_lines_of_one_name_are_one_map_in_their_order() -> None:
    text = '# maps\nm ada bob\nn x y\n\n  m\t"a b" "q""q" # c\r\nm root all\nm x "all"\n'
    maps, problems = parse_ident(text, "i")
    assert problems == ()
    assert maps == {
        "m": IdentMap(
            "m",
            (
                Mapping("ada", "bob"),
                Mapping("a b", 'q"q'),
                Mapping("root", None),
                Mapping("x", "all"),
            ),
        ),
        "n": IdentMap("n", (Mapping("x", "y"),)),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m", "there is no system user"),
        ("m a", "there is no database user"),
        ('"m" a b', 'there is no map name: "m"'),
        ("m a b c", 'unsupported parameters: "c"'),
        ("m a b,c", 'unsupported parameters: ","'),
        ("m a, b", 'there is no database user: ","'),
        ('m "a b', "a quote is never closed"),
        ("m a b\0", "there is a NUL byte in it"),
        ("include other", "there is no database user"),
        (r"m /^(.*)@x$ \1", '"/^(.*)@x$" is not supported (patterns and groups'),
        ("m a +g", '"+g" is not supported'),
    ],
)
def test_a_broken_line_is_skipped_and_said(line: str, message: str) -> None:
    maps, (problem,) = parse_ident(f"m x y\n{line}\nm y z", "i")
    assert maps["m"].mappings == (Mapping("x", "y"), Mapping("y", "z"))
    assert str(problem).startswith(
        f"i:2: could not parse ident config line 2, it is skipped: {message}"
    )
    assert not problem.is_grave  # it lets in fewer, never more


def test_a_file_of_nothing_but_broken_lines_is_reported_to_an_end() -> None:
    _, problems = parse_ident("m\n" * 5000, "i")
    assert len(problems) == MAX_REPORTED_LINES + 1
    assert problems[-1].message == "could not parse 4900 more lines, they are skipped too"


WORDS = st.sampled_from(["m", "a", "all", ",", "#", '"', "\n", "\0", "+g", "/x"])


@given(st.text() | st.lists(WORDS).map(" ".join))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    parse_ident(text, "i")
