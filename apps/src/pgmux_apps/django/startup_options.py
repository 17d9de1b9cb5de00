"""OPTIONS["options"]: the parameters in it, and those that pgmux honours unless told otherwise.

Source: PostgreSQL's pg_split_opts and process_postgres_switches: words are split at white space, a
backslash keeps the next character; `-c name=value`, `-cname=value`, `--name=value`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# What PostgreSQL reports and lets be set follows each client; the rest is the default of
# startup_parameters in pgmux.ini.
HONOURED_BY_PGMUX = frozenset(
    {
        *("application_name", "client_encoding", "datestyle", "intervalstyle", "timezone"),
        *("standard_conforming_strings", "default_transaction_read_only", "search_path"),
        *("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"),
    }
)


def parameters_in(options: str) -> dict[str, str]:
    """Names, in lower case, and values; what isn't a parameter is left out."""
    return dict(_parameters(iter(_words(options))))


def alter_role(user: str, database: str, parameters: Iterable[tuple[str, str]]) -> str:
    """The statements that set them for every connection of that user to that database."""
    who = f"ALTER ROLE {_quoted(user or 'app')} IN DATABASE {_quoted(database or 'app')}"
    return " ".join(f"{who} SET {name} = {_literal(value)};" for name, value in parameters)


def _parameters(words: Iterator[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith(("--", "-c")):
            word = word[2:]
        else:
            continue
        name, equals, value = word.partition("=")
        if equals and name:
            yield name.replace("-", "_").lower(), value


def _words(options: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    characters = iter(options)
    for character in characters:
        if character.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            kept = next(characters, "") if character == "\\" else character
            word = (word or "") + kept
    return words if word is None else [*words, word]


def _quoted(name: str) -> str:
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain and not name[0].isdigit() else '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
