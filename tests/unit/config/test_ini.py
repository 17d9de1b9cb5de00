"""File syntax: as PgBouncer reads it, and every error at its place."""

from __future__ import annotations

import pytest

from tests.unit.config.helpers import load, problems_of

MAIN = "[pgbouncer]\n"


def test_comments_blank_lines_and_carriage_returns_are_skipped() -> None:
    config = load("; one\r\n  # two\r\n\r\n[pgbouncer]\r\n\tlisten_port = 7000 \t\r\n")
    assert config.settings.listen_port == 7000


def test_a_comment_within_a_line_belongs_to_the_value() -> None:
    assert problems_of(MAIN + "verbose = 1 ; more\n") == [
        'a.ini:2: invalid value "1 ; more" for parameter verbose in configuration (a.ini:2)'
        " (an integer is expected)"
    ]


def test_an_entry_may_stand_on_its_sections_line() -> None:
    assert load("[pgbouncer] verbose=2").settings.verbose == 2


def test_a_key_in_single_quotes_may_hold_anything() -> None:
    assert list(load(MAIN + "[databases]\n'my db=;' = host=x\n").databases) == ["my db=;"]


def test_a_key_in_double_quotes_is_refused_with_the_cure() -> None:
    assert problems_of(MAIN + '[databases]\n"my db" = host=x\n') == [
        "a.ini:3: syntax error in configuration (a.ini:3), stopping loading"
        " (quote a name with single quotes, not double quotes)"
    ]


@pytest.mark.parametrize("line", ["listen_port", "[users", "''=1", "%include", "dä = 1", "!"])
def test_half_a_line_is_a_syntax_error_at_its_place(line: str) -> None:
    found = problems_of(MAIN + "verbose = 1\n" + line)
    expected = "a.ini:3: syntax error in configuration (a.ini:3), stopping loading"
    assert [problem[: len(expected)] for problem in found] == [expected]


def test_an_unknown_section_is_refused_and_its_entries_are_not_looked_at() -> None:
    assert problems_of(MAIN + "[database]\ndb = host\n[users]\nu = pool_sise=1\n") == [
        'a.ini:2: invalid section "database" in configuration (a.ini:2)'
        ' (did you mean "databases"?)',
        'a.ini:5: unrecognized user parameter: pool_sise (did you mean "pool_size"?)',
    ]


def test_a_value_without_section_is_refused() -> None:
    assert problems_of("verbose=1\n" + MAIN)[0].startswith(
        "a.ini:1: value without section: verbose"
    )


def test_the_main_section_must_be_there() -> None:
    assert problems_of("[databases]\n") == [
        "a.ini: main section missing from config file (write [pgbouncer])"
    ]


def test_a_second_main_section_begins_again_with_the_defaults_but_for_those_without() -> None:
    config = load(MAIN + "pool_mode=statement\nauth_file=x\nverbose=3\n" + MAIN, x="")
    assert config.settings.pool_mode == "session"
    assert (config.settings.auth_file, config.settings.verbose) == ("x", 3)


def test_an_included_file_goes_on_with_the_section_and_hands_it_back() -> None:
    config = load(
        MAIN + "%include b.ini \nc = host=x", b_ini="verbose=2\n[databases]\nb = host=y\n"
    )
    assert config.settings.verbose == 2
    assert list(config.databases) == ["b", "c"]
    assert config.files == ("a.ini", "b.ini")


def test_a_problem_in_an_included_file_is_reported_there() -> None:
    assert problems_of(MAIN + "%include b.ini\n", b_ini="\nverbos=1") == [
        'b.ini:2: unknown parameter: pgbouncer/verbos (did you mean "verbose"?)'
    ]


def test_a_missing_include_is_reported_where_it_is_asked_for() -> None:
    assert problems_of(MAIN + "\n%include b.ini") == [
        'a.ini:3: could not load file "b.ini": No such file or directory'
    ]


def test_ten_levels_of_include_are_read_and_eleven_are_not() -> None:
    files = {f"f{i}": f"%include f{i + 1}\n" for i in range(1, 10)}
    assert load(MAIN + "%include f1", **files, f10="verbose=5").settings.verbose == 5
    files = {f"f{i}": f"%include f{i + 1}\n" for i in range(1, 11)}
    assert problems_of(MAIN + "%include f1", **files, f11="")[0].startswith(
        "f10:1: include nesting level too deep (f10:1), stopping loading"
    )


def test_a_file_that_includes_itself_many_times_is_refused_at_once() -> None:
    found = problems_of(MAIN + "%include a.ini\n" * 50)
    assert len(found) == 1
    assert found[0].startswith("a.ini:2: include nesting level too deep (a.ini:2)")


def test_includes_that_multiply_come_to_an_end() -> None:
    files = {f"f{i}": f"%include f{i + 1}\n" * 50 for i in range(1, 10)}
    found = problems_of(MAIN + "%include f1\n", **files, f10="")
    assert "too many included files" in found[0]
