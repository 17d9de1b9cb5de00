"""The prompt's history and completion, without a terminal."""

from __future__ import annotations

from pathlib import Path

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory

from pgmux.ops.console.interactive import ConsoleCompleter, history_path, open_history
from pgmux.ops.console.place import Place
from pgmux.ops.console.session import Session


def test_the_history_is_the_owners_alone_and_keeps_no_secret(tmp_path: Path) -> None:
    path = history_path({"XDG_STATE_HOME": str(tmp_path)})
    history = open_history(path)
    for line in ("SHOW POOLS", "SET auth_ldap_options = 'x'", "set PASSWORD = y"):
        history.append_string(line)
    assert path == tmp_path / "pgmux" / "console_history"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [line for line in path.read_text().splitlines() if line.startswith("+")] == [
        "+SHOW POOLS"
    ]


def test_the_history_is_in_the_home_directory_where_nothing_else_is_said() -> None:
    assert history_path({}) == Path.home() / ".local" / "state" / "pgmux" / "console_history"


def test_without_a_place_for_it_the_history_lasts_as_long_as_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory is needed")
    history = open_history(tmp_path / "state" / "console_history")
    assert isinstance(history, InMemoryHistory)


def test_a_full_disk_does_not_end_the_prompt(tmp_path: Path) -> None:
    history = open_history(tmp_path / "history")
    (tmp_path / "history").unlink()
    (tmp_path / "history").mkdir()  # writing fails from now on
    history.append_string("SHOW POOLS")
    assert history.get_strings() == ["SHOW POOLS"]


def test_tab_offers_nothing_where_there_is_no_connection_and_makes_none() -> None:
    def refuse() -> str | None:
        raise AssertionError("a password is asked for")

    session = Session(Place({"host": "/nowhere"}, "a test"), refuse, print)
    completer = ConsoleCompleter(session)
    assert list(completer.get_completions(Document("SHOW "), CompleteEvent())) == []
