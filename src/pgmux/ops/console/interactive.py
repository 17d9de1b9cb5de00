"""The console's prompt: history, completion, Ctrl-C. The line editor is prompt_toolkit's.

The history is `$XDG_STATE_HOME/pgmux/console_history` (~/.local/state without that), readable by
its owner alone, without lines that may hold a secret. Without a place for it there is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from pgmux.ops.console.completion import Grammar, Kind, find_completions, parse_help
from pgmux.ops.console.connection import (
    ConnectError,
    ConnectionLost,
    ConsoleError,
    Interrupted,
)
from pgmux.ops.console.session import Session
from pgmux.ops.console.statements import may_hold_secret

LOOK_UP_TIMEOUT = 2.0  # seconds that Tab may take
_ASK = {Kind.DATABASE: "SHOW DATABASES", Kind.SETTING: "SHOW CONFIG"}
_FAILURES = (ConnectError, ConnectionLost, ConsoleError, Interrupted)


class _SafeHistory(FileHistory):
    """Keeps no line that may hold a secret, and no line where the disk is full."""

    def append_string(self, string: str) -> None:
        if not may_hold_secret(string):
            super().append_string(string)

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


def history_path(environ: Mapping[str, str]) -> Path:
    """Where the history is kept."""
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "pgmux", "console_history")


def open_history(path: Path) -> History:
    """The history in that file, made for its owner alone; in memory where that can't be."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return _SafeHistory(path)


class ConsoleCompleter(Completer):
    """Completion by what the session's console says; nothing is asked before the first Tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._grammar: Grammar | None = None

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        with suppress(*_FAILURES):
            text = document.text_before_cursor.rpartition(";")[2]
            length, words = find_completions(text, self._find_grammar(), self._names)
            yield from (Completion(word, start_position=-length) for word in words)

    def _find_grammar(self) -> Grammar:
        if self._grammar is None:
            _, notices = self._session.look_up("SHOW HELP", LOOK_UP_TIMEOUT)
            self._grammar = parse_help("\n".join(notices))
        return self._grammar

    def _names(self, kind: Kind) -> Iterable[str]:
        """Databases and settings come and go, so they are asked for anew."""
        result, _ = self._session.look_up(_ASK[kind], LOOK_UP_TIMEOUT)
        return [row[0] for row in result.rows if row[0]]


def read_lines(session: Session, name: str, history: History) -> Iterator[str]:
    """The lines typed at the prompt, until Ctrl-D."""
    prompt: PromptSession[str] = PromptSession(
        history=history,
        completer=ConsoleCompleter(session),
        complete_while_typing=False,
        enable_history_search=True,
    )
    while True:
        try:
            yield prompt.prompt(f"{name}=> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
