"""Every message of the system checks and of pgmux_check: its id and what it is about.

An id keeps its meaning: it stands in people's SILENCED_SYSTEM_CHECKS. Those below 100 come from
the settings alone and run with each command of manage.py; those from 100 on come from pgmux_check,
which asks the pooler. E: Django fails for certain. docs/apps/django.md says what to do about each.
"""

from __future__ import annotations

import re
from enum import Enum

from django.core import checks
from django.core.checks import CheckMessage

_WORD = re.compile(r"[\w.-]{0,30}")
_LEVELS = {"E": checks.ERROR, "W": checks.WARNING, "I": checks.INFO}


class Rule(Enum):
    """`Rule.X.found(…)` is a message of that id and level."""

    # from the settings
    PGMUX_SETTING = "E001", "PGMUX can't be read"
    DATABASES_SETTING = "E002", "a value in DATABASES that Django or libpq refuses"
    POOL_WITH_MAX_AGE = "E003", 'OPTIONS["pool"] together with CONN_MAX_AGE'
    POOL_VALUES = "E004", 'values in OPTIONS["pool"] that psycopg_pool refuses'
    NEEDS_PSYCOPG3 = "E005", "options that take psycopg 3 or psycopg_pool"
    LOGIN_PER_REQUEST = "W001", "CONN_MAX_AGE = 0: a login for every request"
    KEPT_BUT_NEVER_USED = "W002", "CONN_MAX_AGE under ASGI or gevent"
    NO_HEALTH_CHECKS = "W003", "connections that are kept, without CONN_HEALTH_CHECKS"
    TEXT_AS_FLAG = "W004", "a text where true or false is meant"
    POOL_BELOW_THREADS = "W005", 'OPTIONS["pool"] is smaller than the threads that share it'
    NO_AUTOCOMMIT = "W006", "AUTOCOMMIT = False"
    SERVER_SIDE_CURSORS = "W010", "server-side cursors in front of a transaction pool"
    STARTUP_OPTIONS = "W011", 'OPTIONS["options"] that a pooler drops or refuses'
    ASSUME_ROLE = "W012", 'OPTIONS["assume_role"]: the role stays on the server'
    PREPARED_STATEMENTS = "W013", "prepared statements in front of a transaction pool"
    TENANT_SCHEMAS = "W014", "a backend that sets search_path"
    TLS_OFF = "W020", "sslmode=disable to another host"
    TLS_OPTIONAL = "W021", "TLS to another host that may silently be none"
    SUPERUSER = "W022", "a superuser's name"
    EMPTY_PASSWORD = "W023", "no password"
    NO_DIRECT_ALIAS = "W030", "no alias that bypasses the pooler"
    DIRECT_IS_POOLED = "W031", "a direct alias that doesn't bypass the pooler"
    DIRECT_IN_TESTS = "W032", "a direct alias without TEST MIRROR"
    # from what answers
    NOT_REACHED = "E100", "the alias can't be connected to"
    STATEMENT_MODE = "E101", "pool_mode is statement"
    NO_POOLER = "W100", "taken for pooled, but PostgreSQL itself answers"
    POOLER_UNSAID = "W101", "a pooler that the settings don't say"
    OLD_POOLER = "W102", "a PgBouncer with known vulnerabilities"
    SESSION_MODE = "W103", "session mode and connections that are kept"
    UNTRACKED_STATEMENTS = "W104", "the pooler doesn't track prepared statements"
    CLOSED_WHILE_IDLE = "W105", "client_idle_timeout is shorter than connections are kept"
    TOO_FEW_CLIENTS = "W106", "max_client_conn is less than processes and threads may open"
    OPTIONS_NOT_IN_FORCE = "W107", 'OPTIONS["options"] doesn\'t arrive'
    ROLE_LEFT_BEHIND = "W108", "a server with another client's role"
    IS_SUPERUSER = "W109", "the role is a superuser"
    MORE_THAN_POSTGRES_HAS = "W110", "pools larger than PostgreSQL's max_connections"
    WAITS_FOREVER = "W111", "query_wait_timeout is 0"
    DIRECT_DOES_NOT_BYPASS = "W112", "a direct alias that arrives at a pooler"
    DIRECT_IS_ELSEWHERE = "W113", "a direct alias of another database"
    CONSOLE_NOT_READ = "I100", "what is unknown, as the console may not be read"
    ITERATOR_CALLS = "I101", "calls of .iterator() in the project"
    TESTS_THROUGH_PGBOUNCER = "I102", "test databases through PgBouncer"

    def __init__(self, number: str, title: str) -> None:
        self.id = f"pgmux.{number}"
        self.title = title

    def found(self, place: str, message: str, hint: str) -> CheckMessage:
        """`place` is a setting or an alias, the hint says what to write."""
        level = _LEVELS[self.value[0][0]]
        said, hint, place = printable(message), printable(hint), printable(place)
        return CheckMessage(level, said, hint=hint, obj=place, id=self.id)


def shown(value: object) -> str:
    """A value as a message may show it: numbers and words; a URL, say, has a password in it."""
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and _WORD.fullmatch(str(value)):  # str() of a lazy text is a text
        return repr(str(value))
    return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """What somebody else said, as one line of a terminal that does nothing but print it."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
