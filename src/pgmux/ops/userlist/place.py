"""Which userlist is meant: auth_file of the configuration, unless another is named.

Errors: `UserlistError` where the configuration can't be read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pgmux.errors import ConfigError
from pgmux.ops.console.place import CONFIG_FILES
from pgmux.ops.entries.ini_edit import IniEdit
from pgmux.ops.entries.texts import EditedTexts
from pgmux.ops.userlist.edit import UserlistError

DEFAULT_FILE = "userlist.txt"


@dataclass(frozen=True, slots=True)
class UserlistPlace:
    """The file, and the configuration that it belongs to, if there is one."""

    file: str
    config: str | None


def find_userlist(output: str | None, config: str | None) -> UserlistPlace:
    """`output`, else auth_file of `config`, else of a pgbouncer.ini that is here or in /etc.

    Raises: UserlistError.
    """
    config = config or next((name for name in CONFIG_FILES if os.path.exists(name)), None)
    if config is None or output is not None:
        return UserlistPlace(output or DEFAULT_FILE, config)
    try:
        entry = IniEdit(config, EditedTexts()).find("pgbouncer", "auth_file")
    except ConfigError as error:
        raise UserlistError(f"{error} (or name the userlist by --output)") from error
    return UserlistPlace(entry.value if entry and entry.value else DEFAULT_FILE, config)
