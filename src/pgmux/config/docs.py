"""docs/configuration.md, made from the settings tables: `python -m pgmux.config.docs` prints it."""

from __future__ import annotations

from collections.abc import Mapping

from pgmux.config.params import (
    DATABASE_KEYS,
    PEER_KEYS,
    PGMUX_DATABASE_KEYS,
    PGMUX_SETTINGS,
    SETTINGS,
    USER_KEYS,
    Kind,
    Param,
)

_HEAD = """\
# Configuration

<!-- Made by `python -m pgmux.config.docs` from src/pgmux/config/params.py: change that. -->

pgmux reads PgBouncer's `pgbouncer.ini` and `userlist.txt` as they stand. What PgBouncer doesn't
know stands in `pgmux.ini`: the second argument of `pgmux run`, else `$PGMUX_CONFIG`, else the file
of that name beside `pgbouncer.ini`.

A file that can't be used is refused with every problem in it, each with file, line and the nearest
known name. RELOAD applies what says *yes* in column *reload*; the rest needs a restart.

## Files

- A line is `[section]`, `key = value`, `%include path` (up to ten deep, relative to the working
  directory) or a comment, which begins with `;` or `#`. A value goes to the end of the line; blanks
  after it are dropped.
- A key with other characters than letters, digits and `_.-*` stands in single quotes.
- Numbers are C's: `0x10` and, in octal, `0777` are fine. A choice is read in any case.
- In `[databases]`, `[users]` and `[peers]` the value is `key=value key='it''s a value'`. An empty
  value is an error. Numbers there are decimal.
- A second section of the same name goes on with the first, except that `[pgbouncer]` begins again
  with the defaults.
- `userlist.txt` (`auth_file`) holds lines `"user" "secret"`; `""` is a quote, `;` begins a comment
  line. A secret is a password, `md5` and its 32 digits, or `SCRAM-SHA-256$...`. Reading stops at a
  broken line: a warning at start, a refusal at RELOAD.
"""

_SECTIONS: tuple[tuple[str, str, Mapping[str, Param]], ...] = (
    ("pgbouncer.ini: [pgbouncer]", "Times are seconds, fractions allowed.", SETTINGS),
    (
        "pgbouncer.ini: [databases]",
        "`name = key=value ...`; the entry `*` serves every name that has no other. The name"
        " `pgbouncer` is the console's.",
        DATABASE_KEYS,
    ),
    ("pgbouncer.ini: [users]", "`name = key=value ...`.", USER_KEYS),
    ("pgbouncer.ini: [peers]", "`peer_id = key=value ...`.", PEER_KEYS),
    ("pgmux.ini: [pgmux]", "", PGMUX_SETTINGS),
    (
        "pgmux.ini: [databases]",
        "Entries of pgbouncer.ini's [databases], with these keys only.",
        PGMUX_DATABASE_KEYS,
    ),
)


def build_document() -> str:
    """The text of docs/configuration.md."""
    parts = [_HEAD]
    for title, intro, table in _SECTIONS:
        parts.append(f"\n## {title}\n\n")
        parts.append(intro + "\n\n" if intro else "")
        parts.append("| name | value | default | reload | meaning |\n|-|-|-|-|-|\n")
        parts.extend(_row(param) for param in table.values())
    return "".join(parts)


def _row(param: Param) -> str:
    name = "<br>".join(f"`{name}`" for name in (param.name, *param.aliases))
    reload = "yes" if param.reloadable else "no"
    return f"| {name} | {_value(param)} | {_default(param)} | {reload} | {_meaning(param)} |\n"


def _value(param: Param) -> str:
    if param.choices is not None:
        return ", ".join(f"`{choice}`" for choice in param.choices)
    unit = param.unit if param.kind in (Kind.INT, Kind.UINT) else ""
    return unit or param.kind.value


def _default(param: Param) -> str:
    if param.default is None:
        return "not set"
    return f"`{param.default}`" if param.default else "empty"


def _meaning(param: Param) -> str:
    if param.unset_below == 1:
        return f"{param.help} 0 counts as not set."
    return param.help


if __name__ == "__main__":
    print(build_document(), end="")
