"""One entry's text -> values of a table of `params`, with its problems and warnings.

Source of the words: PgBouncer's lib/usual/cfparser.c and src/loader.c.
Errors: `Problems.add`; the entry then has no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgmux.config.connstr import parse_connstr
from pgmux.config.ini import Entry
from pgmux.config.params import Kind, Param
from pgmux.config.problems import Problems, clip, nearest
from pgmux.config.values import atoi, parse_value, quoted

_LABELS = {"pool_mode": "pool mode"}
_ATOI_KINDS = (Kind.COUNT, Kind.WHOLE_SECONDS, Kind.PORT)


def parse_setting(
    entry: Entry, table: Mapping[str, Param], problems: Problems
) -> tuple[Param, Any] | None:
    """The setting of `name = value`, None when there is a problem."""
    name = entry.key or ""
    param = table.get(name)
    if param is None:
        message = f"unknown parameter: {entry.section}/{clip(name)}"
        problems.add(message, entry.file, entry.line, nearest(name, table))
        return None
    try:
        return param, parse_value(param, entry.value)
    except ValueError as error:
        place = f"in configuration ({entry.file}:{entry.line})"
        message = f"invalid value{quoted(param, entry.value)} for parameter {name} {place}"
        problems.add(message, entry.file, entry.line, str(error))
        return None


def parse_keys(
    entry: Entry, table: Mapping[str, Param], problems: Problems, what: str, unknown: str
) -> dict[str, Any] | None:
    """The keys of `name = key=value ...`, None when there is a problem.

    `what` and `unknown` complete "syntax error in ..." and "unrecognized ...".
    """
    try:
        pairs = parse_connstr(entry.value)
    except ValueError as error:
        problems.add(f"syntax error in {what}", entry.file, entry.line, clip(str(error)))
        return None
    names = {alias: param for param in table.values() for alias in (param.name, *param.aliases)}
    values: dict[str, Any] = {}
    is_good = True
    for key, text in pairs:
        param = names.get(key)
        if param is None:
            message = f"unrecognized {unknown}: {clip(key)}"
            problems.add(message, entry.file, entry.line, nearest(key, names))
            is_good = False
            continue
        try:
            values[param.name] = parse_value(param, text)
        except ValueError as error:
            message = f"invalid {_LABELS.get(param.name, param.name)}: {clip(text)}"
            problems.add(message, entry.file, entry.line, str(error))
            is_good = False
            continue
        _warn_of_rest(param, text, entry, problems)
    return values if is_good else None


def _warn_of_rest(param: Param, text: str, entry: Entry, problems: Problems) -> None:
    """atoi takes 5432 from "5432,5433" and 0 from "many": accepted as there, but said."""
    if param.kind in _ATOI_KINDS:
        number, is_all = atoi(text)
        if not is_all:
            message = f"{clip(entry.key or '')}: {param.name}={clip(text)} is read as {number}"
            problems.warn(message, entry.file, entry.line, "a number is expected")
