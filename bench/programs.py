"""What is measured: the yardstick PgBouncer, a second one beside it, and pgmux's two forms.

Errors: `BenchError` where a program isn't there, or isn't PgBouncer.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from bench import BenchError
from pgmux import _pure
from pgmux.ops.pooler import PGMUX

DEBIANS = "/usr/sbin/pgbouncer"
_PREPARED_SINCE = (1, 21)


@dataclass(frozen=True, slots=True)
class Program:
    """Its name in the tables, and its command line."""

    name: str
    command: Sequence[str]
    is_pgmux: bool = False
    has_prepared: bool = True  # statements, in transaction mode


def find_programs(
    pgbouncer: str | None, forms: Sequence[str], *, with_second: bool
) -> list[Program]:
    """The yardstick (PgBouncer at `pgbouncer`, else on PATH) first, if there is one, and then
    Debian's, if that is another, and pgmux. Raises: BenchError.
    """
    yardstick = _find(pgbouncer)
    found = [] if yardstick is None else [_pgbouncer(yardstick)]
    second = shutil.which(DEBIANS) if with_second else None
    if found and second is not None:
        # Debian's may have been replaced by the drop-in, which nobody asked to be measured.
        found += [each for each in _pgbouncers_at(second) if each.name != found[0].name]
    return [*found, *pgmux_forms(forms)]


def pgmux_forms(wanted: Sequence[str]) -> list[Program]:
    """pgmux in the forms asked for, by default the compiled one. Raises: BenchError."""
    try:
        built = _pure.form()
    except ImportError as error:
        raise BenchError(str(error)) from None
    if built != "compiled" and (not wanted or "compiled" in wanted):
        if wanted:
            raise BenchError(f"the modules are {built}: `make build` compiles them")
        wanted = ("pure",)
    return [
        # env ends in exec, so the pid stays the pooler's.
        Program(
            f"pgmux {form}",
            ("env", f"PGMUX_PURE={int(form == 'pure')}", *PGMUX),
            is_pgmux=True,
        )
        for form in wanted or ("compiled",)
    ]


def _find(path: str | None) -> str | None:
    found = shutil.which(path) if path else shutil.which("pgbouncer") or shutil.which(DEBIANS)
    if found is None and path:
        raise BenchError(f"PgBouncer at {path}: there is no such program")
    return found


def _pgbouncers_at(path: str) -> list[Program]:
    try:
        return [_pgbouncer(path)]
    except BenchError:
        return []


def _pgbouncer(path: str) -> Program:
    answer = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=30)
    version = re.match(r"PgBouncer (\d+)\.(\d+)", answer.stdout)
    if version is None:
        raise BenchError(f"{path} isn't PgBouncer: `-V` answers {answer.stdout[:80]!r}")
    if "libevent" not in answer.stdout:
        raise BenchError(
            f"{path} isn't PgBouncer but pgmux's drop-in (its -V names no libevent): "
            "name PgBouncer itself, PGBOUNCER=/path or --pgbouncer"
        )
    has_prepared = (int(version[1]), int(version[2])) >= _PREPARED_SINCE
    return Program(answer.stdout.splitlines()[0], (path,), has_prepared=has_prepared)
