"""The console's commands: which there are, who may run them, what they refuse, what they do.

`find_statement` decides all that a query's text decides; the rest is decided when it runs.
Source: PgBouncer's src/admin.c (1.25.2), its words and the order of its checks; SUSPEND and
SHOW FDS are gone as in its 1.26. What drivers send besides is in `drivers`.
Errors: PoolerError, fatal=False. RELOAD's has the ConfigError as its cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pgmux.admin.drivers import FAKE_PARAMETERS, fake_table, find_answer, find_answers
from pgmux.admin.outcome import Outcome, Statement, Waiting
from pgmux.admin.parser import Command, invalid_command, parse_command
from pgmux.admin.pooler import AdminPooler, ShutdownMode
from pgmux.admin.show import HELP, TABLES
from pgmux.config.model import ADMIN_DATABASE
from pgmux.errors import (
    SQLSTATE_CONFIG_FILE_ERROR,
    SQLSTATE_PROTOCOL_VIOLATION,
    ConfigError,
    PoolerError,
)

_CLIENT_ID = re.compile(r"[ \t\n\v\f\r]*\+?([0-9]+)")  # as C's sscanf reads it
_POINTER = re.compile("0x([0-9a-f]{1,16})")


_Handler = Callable[[AdminPooler, str], Outcome]


@dataclass(frozen=True, slots=True)
class _Rule:
    """`arguments`: the only ones that it takes, in lower case; None is any."""

    run: _Handler
    arguments: tuple[str, ...] | None = None


def find_statements(query: bytes, pooler: AdminPooler, is_admin: bool) -> list[Statement]:
    """What a simple query asks for: one statement, or several of those that drivers send.

    Raises: PoolerError; so do actions.
    """
    return find_answers(query) or [_find_command(query, pooler, is_admin)]


def find_statement(query: bytes, pooler: AdminPooler, is_admin: bool) -> Statement:
    """The rows, or the action, that `query` asks for; only running an action changes anything.

    Raises: PoolerError; so does the action.
    """
    return find_answer(query) or _find_command(query, pooler, is_admin)


def _find_command(query: bytes, pooler: AdminPooler, is_admin: bool) -> Statement:
    command = parse_command(query)
    if command.value is not None:
        return partial(_set, pooler, command.argument, command.value, is_admin)
    if command.word in ("show", "select"):
        return _find_show(query, command.argument.lower(), is_admin)
    rule = _RULES.get(command.word)
    if rule is None or not _takes(rule, command):
        raise invalid_command(query)
    if not is_admin:
        return partial(_refuse, "admin access needed")
    return partial(rule.run, pooler, command.argument)


def _takes(rule: _Rule, command: Command) -> bool:
    return rule.arguments is None or command.argument.lower() in rule.arguments


def _find_show(query: bytes, name: str, is_admin: bool) -> Statement:
    if name in FAKE_PARAMETERS:
        return fake_table(name)
    if name in TABLES:
        return TABLES[name]
    if name == "help":
        return partial(Outcome, "SHOW", notice=("Console usage", HELP))
    if name == "fds":
        return partial(_refuse, _FDS_IS_GONE if is_admin else "admin access needed")
    raise invalid_command(query)


def _error(message: str, sqlstate: str = SQLSTATE_PROTOCOL_VIOLATION) -> PoolerError:
    return PoolerError(message, sqlstate=sqlstate, fatal=False)


def _refuse(message: str) -> Outcome:
    raise _error(message)


# The commands. `name` is the database, "" for all.


def _set(pooler: AdminPooler, name: str, value: str, is_admin: bool) -> Outcome:
    if name.lower() in FAKE_PARAMETERS:
        return Outcome("SET", notice=("SET ignored", ""))
    if not is_admin:
        raise _error("admin access needed")
    notice = pooler.set(name, value)
    return Outcome(f"SET {name}={value}", notice=(notice, "") if notice else None)


def _reload(pooler: AdminPooler, _: str) -> Outcome:
    pooler.log("RELOAD command issued")
    try:
        pooler.reload()
    except ConfigError as error:
        message = "RELOAD failed, see logs for additional details"
        raise _error(message, SQLSTATE_CONFIG_FILE_ERROR) from error
    return Outcome("RELOAD")


def _log_issued(pooler: AdminPooler, command: str, name: str) -> None:
    pooler.log(f"{command} '{name}' command issued" if name else f"{command} command issued")


def _check_database(pooler: AdminPooler, name: str, verb: str) -> None:
    """Refuses the console's own database, and one that there isn't even by `*`."""
    if name == ADMIN_DATABASE:
        raise _error(f"cannot {verb} admin db: {name}")
    if name and not pooler.register_database(name):
        raise _error(f"no such database: {name}")


def _check_running(pooler: AdminPooler) -> None:
    if pooler.is_paused:
        raise _error("already suspended/paused")


def _pause(pooler: AdminPooler, name: str) -> Outcome:
    _check_running(pooler)
    _log_issued(pooler, "PAUSE", name)
    _check_database(pooler, name, "pause")
    is_done = pooler.pause(name or None)
    return Outcome("PAUSE", None if is_done else Waiting("PAUSE", name or None))


def _resume(pooler: AdminPooler, name: str) -> Outcome:
    _log_issued(pooler, "RESUME", name)
    if name:
        if not pooler.has_database(name):
            raise _error(f"no such database: {name}")
        if not pooler.is_database_paused(name):
            raise _error(f"database {name} is not paused")
    elif pooler.is_shutting_down:
        raise _error("pooler is shutting down")
    elif not pooler.is_paused:
        raise _error("pooler is not paused/suspended")
    pooler.resume(name or None)
    return Outcome("RESUME")


def _reconnect(pooler: AdminPooler, name: str) -> Outcome:
    _log_issued(pooler, "RECONNECT", name)
    _check_database(pooler, name, "reconnect")
    pooler.reconnect(name or None)
    return Outcome("RECONNECT")


def _wait_close(pooler: AdminPooler, name: str) -> Outcome:
    _log_issued(pooler, "WAIT_CLOSE", name)
    _check_database(pooler, name, "wait in")
    is_done = pooler.wait_close(name or None)
    return Outcome("WAIT_CLOSE", None if is_done else Waiting("WAIT_CLOSE", name or None))


def _kill(pooler: AdminPooler, name: str) -> Outcome:
    _check_running(pooler)
    _log_issued(pooler, "KILL", name)
    _check_database(pooler, name, "kill")
    pooler.kill(name or None)
    return Outcome("KILL")


def _kill_client(pooler: AdminPooler, argument: str) -> Outcome:
    if pointer := _POINTER.fullmatch(argument):  # C-0x2f of the log, `ptr` of SHOW CLIENTS
        client_id = int(pointer[1], 16)
    elif match := _CLIENT_ID.match(argument):
        client_id = int(match[1])
    else:
        raise _error("invalid client pointer supplied")
    if not pooler.kill_client(client_id):
        raise _error("client not found")
    return Outcome("KILL_CLIENT")


def _disable(pooler: AdminPooler, name: str) -> Outcome:
    if not name:
        raise _error("a database is required")
    _log_issued(pooler, "DISABLE", name)
    _check_database(pooler, name, "disable")
    pooler.set_disabled(name, True)
    return Outcome("DISABLE")


def _enable(pooler: AdminPooler, name: str) -> Outcome:
    if not name:
        raise _error("a database is required")
    _log_issued(pooler, "ENABLE", name)
    if name == ADMIN_DATABASE:
        raise _error(f"cannot disable admin db: {name}")
    if not pooler.has_database(name):
        raise _error(f"no such database: {name}")
    pooler.set_disabled(name, False)
    return Outcome("ENABLE")


def _shutdown(pooler: AdminPooler, argument: str) -> Outcome:
    mode = ShutdownMode(argument.lower())
    pooler.log(f"SHUTDOWN {argument.upper()}".rstrip() + " command issued")
    pooler.shutdown(mode)
    # Nothing is answered to the plain form: the connection ends with the process.
    is_last = mode is ShutdownMode.IMMEDIATE
    return Outcome("SHUTDOWN", Waiting("SHUTDOWN", None) if is_last else None)


def _suspend(_: AdminPooler, __: str) -> Outcome:
    raise _error(
        "SUSPEND is gone, with the online restart that it served; use PAUSE and RESUME,"
        " or start a second pooler with so_reuseport=1 and end this one by"
        " SHUTDOWN WAIT_FOR_CLIENTS"
    )


_FDS_IS_GONE = (
    "SHOW FDS is gone, with the online restart that it served; start a second pooler with"
    " so_reuseport=1 and end this one by SHUTDOWN WAIT_FOR_CLIENTS"
)


_RULES: Mapping[str, _Rule] = {
    "disable": _Rule(_disable),
    "enable": _Rule(_enable),
    "kill": _Rule(_kill),
    "kill_client": _Rule(_kill_client),
    "pause": _Rule(_pause),
    "reconnect": _Rule(_reconnect),
    "reload": _Rule(_reload, arguments=("",)),
    "resume": _Rule(_resume),
    "shutdown": _Rule(_shutdown, arguments=tuple(mode.value for mode in ShutdownMode)),
    "suspend": _Rule(_suspend, arguments=("",)),
    "wait_close": _Rule(_wait_close),
}
