"""The pooler's sizes: from its console, from a pgbouncer.ini, or given as numbers.

Of the file only the sizes are read, as PgBouncer reads them: `[pgbouncer]`, one entry of
`[databases]`, `%include`, comments at the start of a line. Numbers given on the command line win
over both. 0 is "unlimited" for the server connections, and "none at all" for max_client_conn.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pgmux_apps.airflow.sizing import PoolerSizes
from pgmux_apps.console import ConsoleAddress, ConsoleError, read_console

DEFAULTS = {
    "default_pool_size": 20,
    "max_client_conn": 100,
    "max_db_connections": 0,
    "max_user_connections": 0,
}
_ENTRY_SIZES = {
    "pool_size": "default_pool_size",
    "max_connections": "max_db_connections",  # SHOW DATABASES calls it so
    "max_db_connections": "max_db_connections",
}
_INCLUDES = 10  # deep: a file that includes itself ends there
_LARGEST_FILE = 1 << 20


class SizesError(Exception):
    """The sizes can't be had: where from, and what is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the sizes come from."""
    group = parser.add_argument_group("the pooler's sizes")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--ini", metavar="FILE", type=Path, help="read them from a pgbouncer.ini")
    source.add_argument(
        "--console",
        metavar="USER@HOST:PORT",
        type=_console_address,
        help="ask a running pooler; the password comes from PGPASSWORD or ~/.pgpass",
    )
    group.add_argument(
        "--database", metavar="NAME", help="the tasks' entry of [databases]; its own sizes count"
    )
    for name, default in DEFAULTS.items():
        option = "--" + name.replace("_", "-")
        group.add_argument(option, type=_size, metavar="N", help=f"default: {default}")


def read(arguments: argparse.Namespace) -> tuple[PoolerSizes, str]:
    """The sizes, and where they are from. Raises: SizesError."""
    source = "PgBouncer's defaults"
    values: dict[str, str] = {}
    if arguments.console is not None:
        values, source = _from_console(arguments.console, arguments.database), "the console"
    elif arguments.ini is not None:
        values, source = _from_file(arguments.ini, arguments.database), str(arguments.ini)
    given = {name: getattr(arguments, name) for name in DEFAULTS}
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        source = "the command line" if not values else f"{source} and the command line"
    numbers = {name: _number(name, values.get(name), default) for name, default in DEFAULTS.items()}
    numbers |= given
    sizes = PoolerSizes(
        pool_size=numbers["default_pool_size"] or None,
        max_db_connections=numbers["max_db_connections"] or None,
        max_user_connections=numbers["max_user_connections"] or None,
        max_client_conn=numbers["max_client_conn"],
        # PgBouncer's own default is session; who gives numbers alone has a transaction pool in mind
        pool_mode=values.get("pool_mode", "session" if values else "transaction"),
    )
    return sizes, source


def _from_console(place: ConsoleAddress, database: str | None) -> dict[str, str]:
    try:
        config, databases = read_console(place, ["SHOW CONFIG", "SHOW DATABASES"])
    except ConsoleError as error:
        raise SizesError(str(error)) from error
    wanted = {*DEFAULTS, "pool_mode"}
    values = {row["key"]: row["value"] for row in config if row["key"] in wanted and row["value"]}
    # One that the entry `*` is to make is listed from its first client on, with the general sizes
    entry = next((row for row in databases if row["name"] == database), {})
    return {str(k): str(v) for k, v in (values | _sizes_of(entry)).items()}


def _sizes_of(entry: Mapping[str, str | None]) -> dict[str, str]:
    """What an entry says of its own, under the names of the general settings."""
    own = {general: entry.get(name) for name, general in _ENTRY_SIZES.items() if entry.get(name)}
    own |= {"pool_mode": entry.get("pool_mode")}
    return {name: value for name, value in own.items() if value}


def _from_file(path: Path, database: str | None) -> dict[str, str]:
    values: dict[str, str] = {}
    entries: dict[str, str] = {}
    section = ""
    for line in _lines(path):
        if line.startswith("["):
            section = line.strip("[] ").lower()
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and section == "pgbouncer":
            values[name.lower()] = value
        elif equals and section == "databases":
            entries[name.strip('"')] = value
    if database is not None:
        text = entries.get(database, entries.get("*"))
        if text is None:
            names = ", ".join(sorted(entries)) or "no entry"
            raise SizesError(f"--database {database}: [databases] of {path} has {names}")
        values |= _sizes_of(_said_in(text))
    return {"pool_mode": "session"} | values


def _said_in(entry: str) -> dict[str, str]:
    """An entry's own values. -1 says nothing, and so does 0 for the limit, not for the pool."""
    own = dict(re.findall(r"(\w+)\s*=\s*'?([\w.-]+)", entry))
    if own.get("max_db_connections") == "0":
        del own["max_db_connections"]
    return {name: value for name, value in own.items() if not value.startswith("-")}


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    """The file's lines that say something, with those of the files it includes."""
    if depth > _INCLUDES:
        raise SizesError(f"{path}: %include more than {_INCLUDES} deep")
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LARGEST_FILE)
    except OSError as error:
        raise SizesError(f"{path}: {os.strerror(error.errno or 0)}") from error
    for line in map(str.strip, text.splitlines()):
        if line.startswith("%include"):
            included = Path(line.removeprefix("%include").strip())
            yield from _lines(path.parent / included, depth + 1)
        elif line and line[0] not in ";#":
            yield line


def _number(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise SizesError(f"{name} = {text[:40]!r}: a number, 0 or more, is accepted")
    return int(text)


def _size(text: str) -> int:
    """For argparse."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: a number, 0 or more, is accepted")
    return int(text)


def _console_address(text: str) -> ConsoleAddress:
    """For argparse: the password is never on the command line, where `ps` shows it."""
    match = re.fullmatch(r"(?:([^@:/]+)@)?(\[[^]]+\]|[^@:]+):(\d{1,5})(?:/(\w+))?", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise argparse.ArgumentTypeError("USER@HOST:PORT is accepted, without a password")
    user = match[1] or os.environ.get("PGUSER") or "postgres"
    return ConsoleAddress(
        host=match[2].strip("[]"),
        port=int(match[3]),
        user=user,
        password=os.environ.get("PGPASSWORD"),
        dbname=match[4] or "pgbouncer",
    )
