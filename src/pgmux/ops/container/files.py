"""The texts of pgbouncer.ini and userlist.txt, as the environment wants them.

Source: PgBouncer's syntax of both files (`config.ini`, `config.connstr`, `config.userlist`).
Errors: ValueError for what the syntax can't say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pgmux.config.userlist import parse_userlist, userlist_line
from pgmux.ops.container.backends import Backend
from pgmux.ops.ini_text import entry_name, entry_value

MARK = "; made of the container's environment; a file that is mounted here is left as it is"
# What edoburu/pgbouncer's configuration has where no variable says otherwise. Its `user` is left
# out: the image's user is that already, and becoming somebody needs root.
DEFAULTS = {
    "listen_addr": "0.0.0.0",
    "listen_port": "5432",
    "unix_socket_dir": "",
    "auth_type": "md5",
    "ignore_startup_parameters": "extra_float_digits",
    "admin_users": "postgres",
}
_SECTION = re.compile(r"[ \t]*\[([^]\n]*)\]")
_KEY = re.compile(r"[ \t]*(?:'([^']+)'|([A-Za-z0-9_.*-]+))[ \t]*=")


def ini_text(
    backends: Iterable[Backend], keys: Mapping[str, str], settings: Mapping[str, str]
) -> str:
    """A whole pgbouncer.ini; `keys` are of every entry of [databases].

    Raises: ValueError for a name that the file can't hold.
    """
    entries = [f"{entry_name(each.name)} = {_entry(each, keys)}" for each in backends]
    lines = [f"{key} = {value}".rstrip() for key, value in {**DEFAULTS, **settings}.items()]
    return "\n".join([MARK, "[databases]", *entries, "", "[pgbouncer]", *lines, ""])


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """An ini's text in which these settings count, whatever it said of them.

    Raises: ValueError where it has no [pgbouncer] section of its own.
    """
    kept: list[str] = []
    end = None  # where the last line of the last [pgbouncer] section is
    is_main = False
    for line in text.split("\n"):
        section, key = _SECTION.match(line), _KEY.match(line)
        if section is not None:
            is_main = section[1] == "pgbouncer"
        if is_main and key is not None and (key[1] or key[2]) in settings:
            continue
        kept.append(line)
        if is_main and line.strip():
            end = len(kept)
    if end is None:
        raise ValueError("there is no section [pgbouncer]")
    kept[end:end] = [f"{key} = {value}".rstrip() for key, value in settings.items()]
    return "\n".join(kept)


def missing_users(userlist: str, path: str, backends: Iterable[Backend]) -> dict[str, str]:
    """The secrets of users whom the file lacks. Raises: ValueError where it is broken."""
    known, problems = parse_userlist(userlist, path)
    if problems:
        raise ValueError(str(problems[0]))
    return {
        each.user: each.password
        for each in backends
        if each.user and each.password and each.user not in known
    }


def user_lines(userlist: str, users: Mapping[str, str]) -> str:
    """What is to be added to the file for these users.

    Passwords are written as they are: an md5 secret, as edoburu/pgbouncer writes, logs in to no
    server that stores SCRAM secrets, which is PostgreSQL's default since 14.
    """
    lines = [f"{userlist_line(user, password)}\n" for user, password in users.items()]
    return ("\n" if userlist and lines and not userlist.endswith("\n") else "") + "".join(lines)


def _entry(backend: Backend, keys: Mapping[str, str]) -> str:
    pairs = {
        "host": backend.host,
        "port": backend.port,
        "auth_user": backend.user or "postgres",
        **backend.keys,
        **keys,
    }
    return entry_value({key: value for key, value in pairs.items() if value})
