"""Variables as files write them -> `Variable`s without secrets, and the connections they name.

What may be a secret is known by the variable's name, or is part of a URL; its value is dropped
here, where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pgmux.ops.check.facts.environment import Program, Service, Target, Variable, WrittenSecret
from pgmux.ops.check.gather.applications import read_target, targets_of_parts

UNKNOWN = "\ue000"
"""Stands in a value for a part that depends on what isn't set."""

_SECRET = re.compile(r"PASS|PWD|SECRET|TOKEN|(?:^|_)KEY(?:$|_)|FERNET|CREDENTIAL|COOKIE|PRIVATE")
_NO_SECRET = re.compile(r"_(?:FILE|PATH|CMD|SECRET_NAME)$|^AUTH_|PASSIVE|TLS_KEY")
# Whose values are kept: what rules go by.
_KEPT = re.compile(
    r"AIRFLOW__(?:CORE|DATABASE|CELERY|SCHEDULER|API|WEBSERVER|WORKERS|TRIGGERER|PGMUX)__\w+"
    r"|(?:PGBOUNCER_)?[A-Z0-9]+(?:_[A-Z0-9]+)*_?(?:HOST|PORT|NAME|USER|USERNAME|DB|DATABASE)"
    r"|\w*(?:POOL|OVERFLOW|PREPARE|STATEMENT|RECYCLE|ISOLATION|SERVER_SIDE_CURSOR|INIT_SQL"
    r"|CONN_MAX_AGE|CONNECT_QUERY|PGBOUNCER|READONLY|READ_ONLY|MODE|CONCURRENCY|WORKERS"
    r"|MAX_CLIENT_CONN|OPTIONS|ASSUME_ROLE|SEARCH_PATH|LISTEN|AUTH_METHOD|AUTH_TYPE|CHANNEL)\w*"
    r"|GUNICORN_CMD_ARGS|DJANGO_SETTINGS_MODULE"
)
_URL = re.compile(r"[a-z][a-z0-9+:.-]*://", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"://[^/?#]*?:([^@/?#]+)@")


@dataclass(frozen=True, slots=True)
class Written:
    """A variable where it stands: its text, and that with what it refers to in place."""

    name: str
    raw: str = field(repr=False)
    value: str = field(repr=False)
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "environment"


def program_of(name: str, written: Iterable[Written], service: Service | None = None) -> Program:
    """What is known of who gets these variables; a later one of a name counts."""
    latest = {each.name: each for each in written}
    targets = [target for each in latest.values() if (target := _target(each)) is not None]
    variables = {each.name: _without_secret(each) for each in latest.values()}
    targets += targets_of_parts(variables)
    return Program(name, variables, tuple(targets), service)


def secrets_of(written: Iterable[Written], *, is_compose: bool) -> Iterator[WrittenSecret]:
    """Those that stand in a file as they are, not as a reference."""
    for each in written:
        if each.file and _holds_secret(each):
            yield WrittenSecret(each.file, each.line, each.name, is_compose)


def _target(each: Written) -> Target | None:
    return read_target(each.name, each.value, each.where, UNKNOWN)


def _without_secret(each: Written) -> Variable:
    value: str | None = each.value
    if _is_secret(each.name) or _URL.search(each.value) or not _KEPT.fullmatch(each.name):
        value = None
    if UNKNOWN in each.value or len(each.value) > 4096:
        value = None
    return Variable(each.name, value, each.where)


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name.upper())) and not _NO_SECRET.search(name.upper())


def _holds_secret(each: Written) -> bool:
    if _is_secret(each.name):
        return bool(each.raw.strip()) and "$" not in each.raw and not each.raw.startswith("/")
    found = _LOGIN_IN_URL.search(each.raw)
    return found is not None and "$" not in found[1]
