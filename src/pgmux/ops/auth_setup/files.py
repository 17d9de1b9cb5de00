"""auth_file and pgbouncer.ini as the set-up wants them.

Errors: `UserlistError`, `FileError`, `SetupError`; `ConfigError`, `EditError` of the ini file.
"""

from __future__ import annotations

import os

from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.files import FileError, change_file, read_text
from pgmux.ops.ini_edit import MAIN_SECTION, IniEdit
from pgmux.ops.ini_text import checked_value
from pgmux.ops.server_connection import ServerConnection
from pgmux.ops.userlist.edit import edit_userlist, read_users
from pgmux.ops.userlist.place import UserlistPlace


def ini_lines(
    server: ServerConnection, setup: Setup, auth_dbname: str | None, place: UserlistPlace
) -> dict[str, str]:
    """The settings of [pgbouncer] by which the pooler asks the function. Raises: SetupError."""
    quoted = "SELECT pg_catalog.quote_ident(%s) || '.' || pg_catalog.quote_ident(%s)"
    name = server.one(quoted, (setup.schema, setup.function))
    lines = {
        "auth_user": setup.role,
        "auth_query": f"SELECT uname, phash FROM {name}($1)",
    }
    if auth_dbname is not None:
        lines["auth_dbname"] = auth_dbname
    if not place.is_of_config:
        lines["auth_file"] = os.path.abspath(place.file)
    try:
        return {key: checked_value(value) for key, value in lines.items()}
    except ValueError as error:
        raise SetupError(f"pgbouncer.ini can't say such a name: {error}") from error


def missing(config: str | None, lines: dict[str, str]) -> dict[str, str]:
    """Those of the settings that the ini file doesn't have with these values."""
    if config is None:
        return lines
    edit = IniEdit(config, EditedTexts())
    found = {key: edit.find(MAIN_SECTION, key) for key in lines}
    return {
        key: value
        for key, value in lines.items()
        if (entry := found[key]) is None or entry.value != value
    }


def edit_ini(config: str, lines: dict[str, str]) -> EditedTexts:
    """The ini file in which these settings count; not yet written."""
    texts = EditedTexts()
    edit = IniEdit(config, texts)
    for key, value in lines.items():
        edit.set(MAIN_SECTION, key, value)
    return texts


def unedit_ini(config: str, lines: dict[str, str]) -> EditedTexts:
    """The ini file without auth_user and auth_query, where they are these, and then without
    auth_dbname, which is of no use without them.
    """
    texts = EditedTexts()
    edit = IniEdit(config, texts)
    found = {key: edit.find(MAIN_SECTION, key) for key in ("auth_user", "auth_query")}
    if all(entry is not None and entry.value == lines[key] for key, entry in found.items()):
        for key in ("auth_user", "auth_query", "auth_dbname"):
            edit.remove(MAIN_SECTION, key)
    return texts


def has_entry(config: str | None, database: str | None) -> bool:
    """Whether auth_dbname can name that database; True where none is named, or nothing known."""
    if config is None or database is None:
        return True
    edit = IniEdit(config, EditedTexts())
    return any(edit.find("databases", name) is not None for name in (database, "*"))


def check_writable(*files: str) -> None:
    """Raises: FileError where a file could not be put in its place, before anything is done."""
    for file in files:
        place = os.path.realpath(file)
        directory = os.path.dirname(place)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise FileError(f"cannot write {file}: {directory} is missing or not ours to write in")
        if os.path.exists(place) and os.geteuid() not in (0, os.stat(place).st_uid):
            raise FileError(f"cannot write {file}: it belongs to another user, run this as root")


def secret_in(file: str, user: str) -> str:
    """What the userlist, which may be missing, has for a user. Raises: UserlistError; FileError."""
    try:
        return read_users(read_text(file), file).get(user, "")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror}") from error


def remove_user(file: str, user: str) -> None:
    """Takes the user out of the userlist."""
    change_file(file, edit_userlist(read_text(file), file, remove=[user]))
