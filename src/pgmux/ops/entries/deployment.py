"""A pooler's files as they are to be edited: pgbouncer.ini, pgmux.ini beside it, and auth_file.

Errors: `ConfigError` where they can't be used as they stand, or couldn't after the change;
`EditError` and ValueError for what can't be said in them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pgmux.config import load_config
from pgmux.config.connstr import parse_connstr
from pgmux.config.model import Config
from pgmux.config.pgmux_ini import PGMUX_SECTIONS
from pgmux.errors import ConfigError
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.ini_edit import MAIN_SECTION, EditError, IniEdit
from pgmux.ops.ini_text import entry_value
from pgmux.ops.userlist.edit import edit_userlist


class Deployment:
    """The files, and what they say as they stand (`config`). Nothing is written here."""

    def __init__(self, path: str) -> None:
        """Reads them. Raises: ConfigError."""
        self.path = path
        self.texts = EditedTexts()
        self.pgmux_path = _find_pgmux_file(path)
        self.ini = IniEdit(path, self.texts)
        self.config = self._load()

    @property
    def auth_file(self) -> str:
        """Raises: EditError."""
        path = self.config.settings.auth_file
        if path is None:
            raise EditError(f"{self.path}: no auth_file is set: name one, to keep users in")
        return path

    @property
    def files(self) -> list[str]:
        """Every file that a change may touch."""
        auth_file = self.config.settings.auth_file
        return [*self.config.files, *([auth_file] if auth_file else [])]

    def checked(self) -> Config:
        """What they say after the edits. Raises: ConfigError where that would be refused."""
        config = self._load()
        known = set(self.config.access_problems)
        new = tuple(each for each in config.access_problems if each not in known)
        if new:
            raise ConfigError(new)
        return config

    def set_secret(self, user: str, secret: str | None) -> None:
        """The user's line of auth_file; None takes it out. Raises: EditError."""
        path = self.auth_file
        try:
            text = self.texts.read(path)
        except OSError as error:
            raise EditError(
                f"auth_file {path} can't be read: {error.strerror} (a relative name counts from"
                " the directory where the pooler was started)"
            ) from error
        changes = {} if secret is None else {user: secret}
        removed = [user] if secret is None else []
        self.texts.put(path, edit_userlist(text, path, changes, removed))

    def set_keys(self, section: str, name: str, keys: Mapping[str, str]) -> None:
        """These keys of an entry, which is made if there is none; its others stay."""
        found = self.ini.find(section, name)
        pairs = dict(parse_connstr(found.value)) if found else {}
        self.ini.set(section, name, entry_value({**pairs, **keys}))

    def remove(self, section: str, name: str) -> int:
        """An entry, from pgmux.ini too, which may name only what there is."""
        removed = self.ini.remove(section, name)
        if self.pgmux_path is not None:
            removed += IniEdit(self.pgmux_path, self.texts, PGMUX_SECTIONS).remove(section, name)
        return removed

    def add_word(self, key: str, name: str) -> None:
        """A name more in a list such as admin_users; written as the others are."""
        found = self.ini.find(MAIN_SECTION, key)
        old = found.value if found else ""
        if name in _words(old):
            return
        if not name or re.search(r"[,\s\0]", name):
            raise ValueError(
                f"{key} is a list by commas: it can't hold a name with a blank or comma"
            )
        comma = "," if "," in old and ", " not in old else ", "
        self.ini.set(MAIN_SECTION, key, f"{old}{comma}{name}" if old else name)

    def remove_word(self, key: str, name: str) -> None:
        """A name less in such a list."""
        found = self.ini.find(MAIN_SECTION, key)
        if found is not None and name in _words(found.value):
            comma = "," if "," in found.value and ", " not in found.value else ", "
            kept = [word for word in _words(found.value) if word != name]
            self.ini.set(MAIN_SECTION, key, comma.join(kept))

    def place(self, section: str, name: str) -> str:
        """file:line of the entry that counts, "" where there is none."""
        found = self.ini.find(section, name)
        return f"{found.file}:{found.line}" if found else ""

    def _load(self) -> Config:
        return load_config(self.path, self.texts.read, self.pgmux_path)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _find_pgmux_file(path: str) -> str | None:
    named = os.environ.get("PGMUX_CONFIG")
    if named:
        return named
    beside = os.path.join(os.path.dirname(path), "pgmux.ini")
    return beside if os.path.exists(beside) else None
