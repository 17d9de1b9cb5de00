"""PgBouncer's command line: options, their abbreviations, and getopt_long's error texts.

Source: PgBouncer's man page and the running 1.25.2; error texts are those of glibc's getopt_long,
which scripts and people see. pgmux adds `--check` and a second file; of `-R` only a text is left.

Errors: `UsageError`, whose text is printed after the program's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pgmux.errors import PgmuxError

NO_FILE = "no configuration file specified"

USAGE = """\
{prog} is a connection pooler for PostgreSQL.

Usage:
  {prog} [OPTION]... CONFIG_FILE [PGMUX_INI]

Options:
  -d, --daemon         run in background (as a daemon); needs pidfile
  -q, --quiet          log nothing to stderr
  -R, --reboot         gone: says what to do instead
  -u, --user=USERNAME  assume identity of USERNAME
  -v, --verbose        increase verbosity
  -V, --version        show version, then exit
  -h, --help           show this help, then exit
      --check          say everything that is wrong with CONFIG_FILE, then exit

PGMUX_INI holds pgmux's own settings; without it $PGMUX_CONFIG is read, else
the file pgmux.ini beside CONFIG_FILE, where there is one.
"""

REBOOT_IS_GONE = (
    "-R (online restart) is gone, as it is from PgBouncer 1.26: start the new process beside"
    " the old one with so_reuseport=1 in both and another unix_socket_dir and pidfile,"
    " then stop the old one with SIGTERM"
)


class Action(Enum):
    """What the command line asks for."""

    RUN = "run"
    CHECK = "check"
    REBOOT = "reboot"
    VERSION = "version"
    HELP = "help"


class UsageError(PgmuxError):
    """The command line can't be understood; the text is getopt_long's or PgBouncer's."""


@dataclass(frozen=True, slots=True)
class Options:
    """A command line, understood. `user` is None without -u; "" overrides `user` of the file."""

    action: Action = Action.RUN
    daemon: bool = False
    quiet: bool = False
    verbose: int = 0
    user: str | None = None
    config_file: str = ""
    pgmux_file: str | None = None


_SHORT = frozenset("qvhdVRu")
# In getopt_long's order, which is the order of the possibilities in its message.
_LONG = {
    "quiet": "q",
    "verbose": "v",
    "help": "h",
    "daemon": "d",
    "version": "V",
    "reboot": "R",
    "user": "u",
    "check": "check",
}
_TAKES_ARGUMENT = "u"


def parse_command_line(argv: list[str]) -> Options:
    """Return what `argv` (without the program's name) asks for. Raises: UsageError."""
    seen: dict[str, int] = {}
    user: str | None = None
    files: list[str] = []
    for option, value in _scan(argv):
        if option == "V":
            return Options(action=Action.VERSION)
        if option == "h":
            return Options(action=Action.HELP)
        if option == "":
            files.append(value)
        elif option == "u":
            user = value
        else:
            seen[option] = seen.get(option, 0) + 1
    if "R" in seen:
        return Options(action=Action.REBOOT)
    if not 1 <= len(files) <= 2:
        raise UsageError(NO_FILE)
    return Options(
        action=Action.CHECK if "check" in seen else Action.RUN,
        daemon="d" in seen,
        quiet="q" in seen,
        verbose=seen.get("v", 0),
        user=user,
        config_file=files[0],
        pgmux_file=files[1] if len(files) == 2 else None,
    )


def _scan(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (option, argument) in order, and ("", operand) for each operand, wherever it stands.

    A generator, because -V and -h act before a later option is found to be wrong.
    """
    words = iter(argv)
    for word in words:
        if word == "--":
            yield from (("", operand) for operand in words)
        elif word.startswith("--"):
            yield _long_option(word, words)
        elif word.startswith("-") and word != "-":
            yield from _short_options(word, words)
        else:
            yield "", word


def _short_options(word: str, words: Iterator[str]) -> Iterator[tuple[str, str]]:
    for at, letter in enumerate(word[1:], start=2):
        if letter not in _SHORT:
            raise UsageError(f"invalid option -- '{letter}'")
        if letter == _TAKES_ARGUMENT:
            value = word[at:] or next(words, None)
            if value is None:
                raise UsageError(f"option requires an argument -- '{letter}'")
            yield letter, value
            return
        yield letter, ""


def _long_option(word: str, words: Iterator[str]) -> tuple[str, str]:
    typed, equals, value = word[2:].partition("=")
    names = [typed] if typed in _LONG else [name for name in _LONG if name.startswith(typed)]
    if not names:
        raise UsageError(f"unrecognized option '{word}'")
    if len(names) > 1:
        possibilities = "".join(f" '--{name}'" for name in names)
        raise UsageError(f"option '{word}' is ambiguous; possibilities:{possibilities}")
    option = _LONG[names[0]]
    if option != _TAKES_ARGUMENT:
        if equals:
            raise UsageError(f"option '--{names[0]}' doesn't allow an argument")
        return option, ""
    argument = value if equals else next(words, None)
    if argument is None:
        raise UsageError(f"option '--{names[0]}' requires an argument")
    return option, argument
