"""What becomes of each user's line in a userlist, and the file's new text.

A line that works stays: the same verifier, or a password in clear of which PostgreSQL's verifier
has been made, since a pooler may need the password itself to log in to a server. Nobody is taken
out: who else stands there may be auth_user, or an admin of the console.
Errors: `UserlistError`, `FileError`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pgmux.auth.secrets import parse_secret
from pgmux.ops.files import SECRET, FileError, NewFile, read_text, write_files
from pgmux.ops.userlist.edit import edit_userlist, read_users
from pgmux.ops.userlist.secrets import is_password_of, is_plain

GROUP_MAY = 0o660  # of the mode of a file that is there: a pooler may read it as its group


class Status(Enum):
    """What becomes of a line."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "unchanged"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Line:
    """A user, what kind of secret it has then, and what is done for that."""

    user: str
    kind: str
    status: Status


@dataclass(frozen=True, slots=True)
class Update:
    """A userlist as it is to be: its text, and who is in it."""

    file: str
    text: str = field(repr=False)
    lines: tuple[Line, ...]
    others: tuple[str, ...]
    is_new: bool
    mode: int
    needs_writing: bool
    only_root_may: bool = False

    @property
    def warning(self) -> str:
        """What is to be done by hand, if anything."""
        if not self.only_root_may:
            return ""
        return (
            f"everybody could read {self.file}, now only root can: give it to the pooler's account"
            f" before the next RELOAD, chown postgres {self.file}"
        )

    def write(self, beside: str | None = None) -> bool:
        """Whether there was anything to write. Raises: FileError."""
        if self.needs_writing:
            file = NewFile(self.file, self.text, self.mode, beside)
            write_files([file], overwrite=not self.is_new)
        return self.needs_writing


def update_of(
    file: str,
    secrets: Mapping[str, str],
    passwords: Mapping[str, str] | None = None,
    *,
    keep_plain: bool = True,
) -> Update:
    """What the file, which may be missing, is to become. `passwords` are what secrets have been
    made of here: a line is left alone that has another salt of the same password. Without
    `keep_plain` a verifier takes the place of a password in clear.

    Raises: UserlistError; FileError.
    """
    text, mode = _read(file)
    before = read_users(text or "", file)
    typed = passwords or {}
    kept = {
        user: before[user]
        for user, secret in secrets.items()
        if user in before
        and (keep_plain or not is_plain(before[user]))
        and _is_as_good(user, before[user], secret, typed.get(user))
    }
    after = {**secrets, **kept}
    edited = edit_userlist(text or "", file, after)
    lines = tuple(Line(user, _kind(after[user]), _status(user, before, after)) for user in after)
    others = tuple(user for user in before if user not in after)
    wanted = SECRET if mode is None else mode & GROUP_MAY
    changes = edited != text or wanted != mode
    only_root = _only_root_may(file, mode, wanted)
    return Update(file, edited, lines, others, text is None, wanted, changes, only_root)


def _only_root_may(file: str, mode: int | None, wanted: int) -> bool:
    """Whether the pooler, which is never root, could read it as everybody could, and can't then."""
    if mode is None or not mode & ~wanted & stat.S_IROTH:
        return False
    found = os.stat(file)
    return (found.st_uid, found.st_gid) == (0, 0)


def _read(file: str) -> tuple[str | None, int | None]:
    try:
        return read_text(file), stat.S_IMODE(os.stat(file).st_mode)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise FileError(f"cannot read {file}: {error.strerror}") from error


def _is_as_good(user: str, old: str, new: str, password: str | None) -> bool:
    """Whether the line's secret stays: it is of the same password, and of the kind asked for."""
    if password is not None:
        return parse_secret(old).kind is parse_secret(new).kind and is_password_of(
            old, user, password
        )
    return old == new or (is_plain(old) and is_password_of(new, user, old))


def _status(user: str, before: Mapping[str, str], after: Mapping[str, str]) -> Status:
    if user not in before:
        return Status.NEW
    return Status.SAME if before[user] == after[user] else Status.CHANGED


def _kind(secret: str) -> str:
    return parse_secret(secret).kind.value
