"""Which userlist is meant: auth_file of the configuration, unless another is named.

Errors: `UserlistError` where the configuration can't be read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pgmux.errors import ConfigError
from pgmux.ops.console.place import CONFIG_FILES
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.ini_edit import IniEdit
from pgmux.ops.userlist.edit import UserlistError

DEFAULT_FILE = "userlist.txt"


@dataclass(frozen=True, slots=True)
class UserlistPlace:
    """The file, the configuration beside it, if there is one, and whether its auth_file is that."""

    file: str
    config: str | None
    is_of_config: bool


def find_userlist(output: str | None, config: str | None) -> UserlistPlace:
    """`output`, else auth_file of `config`, else of a pgbouncer.ini that is here or in /etc, which
    has nothing to do with an `output`.

    Raises: UserlistError where auth_file is wanted and the configuration can't be read.
    """
    if config is None and output is not None:
        return UserlistPlace(output, None, False)
    config = config or next((name for name in CONFIG_FILES if os.path.exists(name)), None)
    try:
        configured = _auth_file(config) if config else ""
    except ConfigError as error:
        if output is None:
            raise UserlistError(f"{error} (or name the userlist by --output)") from error
        configured = ""
    file = output or configured or DEFAULT_FILE
    is_of_config = bool(configured) and os.path.realpath(file) == os.path.realpath(configured)
    return UserlistPlace(file, config, is_of_config)


def _auth_file(config: str) -> str:
    entry = IniEdit(config, EditedTexts()).find("pgbouncer", "auth_file")
    return entry.value if entry else ""
