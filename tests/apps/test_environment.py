"""Settings out of environment variables: what is taken, and what errors say and don't."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux_apps.environment import Environment, SettingError


def refusal(call: object, *arguments: object, **keywords: object) -> SettingError:
    assert callable(call)
    with pytest.raises(SettingError) as caught:
        call(*arguments, **keywords)
    return caught.value


def everything_in(error: BaseException) -> Iterator[str]:
    """What a log could show of an error: itself, what it came of, and what was being handled."""
    while error is not None:
        yield repr(error) + str(error) + repr(vars(error))
        yield from map(str, getattr(error, "args", ()))
        assert error.__cause__ is None or error.__context__ is None
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def test_an_empty_variable_is_none_at_all() -> None:
    environment = Environment({"A": "", "B": "  \n"})
    assert environment.text("A", "default") == "default"
    assert environment.integer("B", 7, least=1, most=9) == 7
    assert environment.flag("A", True) is True
    assert environment.seconds("B", 1.5, least=0, most=9) == 1.5
    assert environment.choice("C", "x", ("x", "y")) == "x"
    assert environment.secret("A") is None


def test_a_url_in_the_wrong_variable_isnt_shown() -> None:
    for url in ("postgresql://u:hunter2@h/db", "host=h PASSWORD=hunter2"):
        error = refusal(Environment({"SIZE": url}).integer, "SIZE", 1, least=1, most=9)
        assert str(error) == (
            f"SIZE is a URL or connection string of {len(url)} characters: "
            "an integer from 1 to 9 is accepted"
        )


def test_without_a_mapping_it_reads_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "3")
    assert Environment().integer("DB_POOL_SIZE", 5, least=1, most=9) == 3


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "t", "yes", "On", " true "])
def test_a_flag_in_the_usual_spellings_is_true(text: str) -> None:
    assert Environment({"F": text}).flag("F", False) is True


@pytest.mark.parametrize("text", ["0", "false", "F", "no", "OFF"])
def test_a_flag_in_the_usual_spellings_is_false(text: str) -> None:
    assert Environment({"F": text}).flag("F", True) is False


def test_a_flag_of_another_spelling_is_refused_by_name() -> None:
    error = refusal(Environment({"USE_PGBOUNCER": "maybe"}).flag, "USE_PGBOUNCER", True)
    assert str(error) == (
        "USE_PGBOUNCER='maybe': true or false (1, 0, yes, no, on, off) is accepted"
    )


@pytest.mark.parametrize(
    "text",
    ["ten", "1.5", "1_0", "0x5", "٣", "--1", "+-1", "+", "5s", "5;", "0", "11", "9" * 5000],
)
def test_an_integer_that_is_none_or_too_large_is_refused(text: str) -> None:
    error = refusal(Environment({"N": text}).integer, "N", 5, least=1, most=10)
    assert str(error).endswith("an integer from 1 to 10 is accepted")
    assert str(error).startswith(f"N='{text[:40]}")
    assert len(str(error)) < 120


def test_an_integer_may_have_a_sign_and_white_space() -> None:
    assert Environment({"N": " -1\n"}).integer("N", 5, least=-1, most=10) == -1
    assert Environment({"N": "+10"}).integer("N", 5, least=-1, most=10) == 10


@pytest.mark.parametrize("text", ["", "10", "0.5", "1e1"])
def test_seconds_may_have_a_fraction(text: str) -> None:
    assert 0.5 <= Environment({"S": text}).seconds("S", 5, least=0, most=60) <= 10


@pytest.mark.parametrize("text", ["10s", "nan", "inf", "-1", "61", "1_0", "٣", "1e400", "ten"])
def test_seconds_that_are_none_are_refused(text: str) -> None:
    error = refusal(Environment({"S": text}).seconds, "S", 5, least=0, most=60)
    assert str(error) == f"S='{text}': seconds from 0 to 60, without a unit"


def test_a_choice_is_taken_in_capitals_too() -> None:
    environment = Environment({"C": "NullPool"})
    assert environment.choice("C", "queuepool", ("queuepool", "nullpool")) == "nullpool"
    error = refusal(environment.choice, "C", "x", ("x", "y"))
    assert str(error) == "C='NullPool': x, y are accepted"


def test_a_value_is_shown_on_one_line() -> None:
    error = refusal(Environment({"N": "a\nb" * 100}).integer, "N", 5, least=1, most=10)
    assert "\n" not in str(error)


def test_a_secret_is_taken_as_it_is() -> None:
    assert Environment({"P": "  pass word\t"}).secret("P") == "  pass word\t"


def test_a_secret_may_be_in_a_file_whose_last_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "password"
    environment = Environment({"P_FILE": str(file)})
    for content in (" hunter2 ", " hunter2 \n", " hunter2 \r\n"):
        file.write_bytes(content.encode())
        assert environment.secret("P") == " hunter2 "
    file.write_bytes("pä\ns\n\n".encode())
    assert environment.secret("P") == "pä\ns\n"


def test_a_secret_in_both_places_is_refused(tmp_path: Path) -> None:
    environment = Environment({"P": "hunter2", "P_FILE": "/run/secrets/hunter3"})
    error = refusal(environment.secret, "P")
    assert str(error) == "P and P_FILE are both given: one of them is accepted"


def test_a_secrets_file_that_cannot_be_read_is_refused_without_its_name(tmp_path: Path) -> None:
    # who confuses P and P_FILE has put the password where its file's name should be
    for path, content, reason in (
        (tmp_path / "hunter2", None, "No such file or directory"),
        (tmp_path, None, "Is a directory"),
        (tmp_path / "hunter2-empty", b"\n", "it is empty"),
        (tmp_path / "hunter2-binary", b"hunter2\xff", "it isn't UTF-8 text"),
        (tmp_path / "hunter2-long", b"hunter2" * 10_000, "it is longer than 65536 characters"),
        ("hunter2\0", None, "it isn't UTF-8 text"),
    ):
        if content is not None:
            Path(path).write_bytes(content)
        error = refusal(Environment({"P_FILE": str(path)}).secret, "P")
        assert str(error) == f"P_FILE: a file that holds the value is accepted, but: {reason}"
        assert not any("hunter2" in text for text in everything_in(error))


def test_its_repr_shows_no_value() -> None:
    assert repr(Environment({"P": "hunter2"})) == "Environment(1 variables)"
    assert os.environ["PATH"] not in repr(Environment())
