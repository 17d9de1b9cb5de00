"""What went wrong with a query, in few words: the same ones for the same cause, so that they can be
counted, the SQLSTATE, and what cures it where that is known.

Source: the errors of asyncpg, SQLAlchemy and the operating system; PostgreSQL's, PgBouncer's and
pgmux's own texts.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from pgmux.ops.console.output import printable

_LONGEST = 200  # characters
_STATEMENT_NAME = re.compile(r"__asyncpg_\w+__")

_NUMBER = re.compile(r"\b\d+\b")

_PREPARED = (
    "the pooler gives each transaction another server connection, and the driver prepares"
    " statements by name: max_prepared_statements = 200 (pgmux, PgBouncer 1.21 or later); an older"
    " PgBouncer needs statement_cache_size=0 of asyncpg's connect(), prepared_statement_cache_size"
    "=0 of SQLAlchemy: here --statement-cache-size 0"
)
# SQLSTATE or a piece of the text -> the cure; the first that fits.
_CURES = (
    ("26000", "", _PREPARED),
    ("42P05", "", _PREPARED),
    ("", "prepared statement", _PREPARED),
    # What asyncpg says when it has got another statement's rows.
    ("", "different from what was described", _PREPARED),
    ("", "expects … argument", "a load's query has no parameters: write values instead of $1"),
    ("", "data in buffer", _PREPARED),
    ("", "bytes in buffer", _PREPARED),
    ("", "more connections allowed", "the pooler's max_client_conn is reached: raise it"),
    ("53300", "", "the server's connections are all taken: fewer workers, or a pooler in between"),
    (
        "",
        "query_wait_timeout",
        "no server connection was free in time: a larger default_pool_size, shorter transactions",
    ),
    ("", "no connection of the pool", "--pool-size, --max-overflow, or fewer workers"),
    ("", "unsupported startup parameter", "ignore_startup_parameters of pgbouncer.ini"),
    ("57014", "", "statement_timeout or a cancel request ended it"),
    ("EADDRNOTAVAIL", "", "no local port is left: net.ipv4.ip_local_port_range, or fewer workers"),
    ("EMFILE", "", "no file descriptor is left: ulimit -n"),
    ("ECONNREFUSED", "", "nothing listens there, or its backlog is full"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is an SQLSTATE, or errno's name where the operating system failed, or empty."""

    message: str
    code: str = ""

    @property
    def cure(self) -> str:
        """What to do about it; empty where only the user can know."""
        for code, text, cure in _CURES:
            if code == self.code if code else text in self.message:
                return cure
        return ""


class NotConnected(Exception):
    """There was no connection to ask with; `__cause__` says why."""


class NoneFree(Exception):
    """None of the pool's connections was free in time."""


def failure_of(error: BaseException) -> Failure:
    """What to count it as."""
    if isinstance(error, NotConnected) and error.__cause__ is not None:
        failure = failure_of(error.__cause__)
        if failure.code:
            return failure
        return Failure(_tidy(f"no connection: {failure.message}"))
    if isinstance(error, NoneFree):
        return Failure(f"no connection of the pool was free in {error.args[0]:g} s")
    error = _unwrap(error)
    code = getattr(error, "sqlstate", None)
    if isinstance(code, str) and code:
        return Failure(_tidy(str(error.args[0]) if error.args else str(error)), code)
    if isinstance(error, TimeoutError) and not str(error):
        return Failure("no answer in time")
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    # Without an SQLSTATE it is the driver's own, whose texts have sizes and counts in them.
    return Failure(_NUMBER.sub("…", _tidy(str(error))) or type(error).__name__)


def _unwrap(error: BaseException) -> BaseException:
    """What the server said, where the driver or SQLAlchemy has wrapped it."""
    inner = getattr(error, "orig", None)  # SQLAlchemy's, around its own of asyncpg's
    if isinstance(inner, BaseException):
        error = inner.__cause__ or inner
    # A connection that the server ended: asyncpg says that first, and why by its cause.
    cause = error.__cause__
    return cause if getattr(cause, "sqlstate", None) and cause is not None else error


def _of_system(error: OSError) -> Failure:
    assert error.errno is not None
    name = errno.errorcode.get(error.errno, "")
    # uvloop and asyncio put addresses and ports in: that is another text for each.
    return Failure(os.strerror(error.errno) if name else _tidy(str(error)), name)


def _tidy(text: str) -> str:
    lines = text.strip().splitlines()
    first = _STATEMENT_NAME.sub("__asyncpg_stmt_…__", lines[0]) if lines else ""
    return printable(first[:_LONGEST])
