"""auth_file and pgbouncer.ini as the set-up wants them.

Errors: `UserlistError`, `FileError`, `SetupError`; `ConfigError`, `EditError` of the ini file.
"""

from __future__ import annotations

import os

from pgmux.ops.auth_setup.setup import Setup, SetupError
from pgmux.ops.entries.ini_edit import MAIN_SECTION, IniEdit
from pgmux.ops.entries.texts import EditedTexts
from pgmux.ops.files import FileError, change_file, read_text
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


def edit_ini(config: str, lines: dict[str, str]) -> EditedTexts:
    """The ini file in which these settings count; not yet written."""
    texts = EditedTexts()
    edit = IniEdit(config, texts)
    for key, value in lines.items():
        edit.set(MAIN_SECTION, key, value)
    return texts


def unedit_ini(config: str, lines: dict[str, str]) -> EditedTexts:
    """The ini file without those of these settings that it has with these values."""
    texts = EditedTexts()
    edit = IniEdit(config, texts)
    found = {key: edit.find(MAIN_SECTION, key) for key in lines if key != "auth_file"}
    if (user := found.get("auth_user")) and user.value == lines["auth_user"]:
        for key, entry in found.items():
            if entry is not None and entry.value == lines[key]:
                edit.remove(MAIN_SECTION, key)
    return texts


def check_writable(file: str) -> None:
    """Raises: FileError where a file could not be put in that place, before anything is done."""
    directory = os.path.dirname(os.path.realpath(file))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise FileError(f"cannot write {file}: {directory} is missing or not ours to write in")


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
