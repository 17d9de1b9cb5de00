"""The container's variables: which of them are settings, and their values.

Every setting in upper case is a variable, plain (`POOL_MODE`) or with a prefix
(`PGBOUNCER_POOL_MODE`, which wins); `X_FILE` names a file that holds the value of X, as Docker and
Kubernetes mount secrets. An empty variable counts as unset.
Errors: `ContainerError` with all that is wrong, by variable; values are never repeated, they may be
secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pgmux.config.params import SETTINGS
from pgmux.config.problems import nearest
from pgmux.config.values import parse_value
from pgmux.errors import PgmuxError

PREFIX = "PGBOUNCER_"
# Not settings: keys of each entry of [databases].
ENTRY_KEYS = ("pool_size", "timezone", "client_encoding")
BACKEND = (
    *("DATABASE_URLS", "DATABASE_URL"),
    *("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
)
# These mean something else to whoever else sets them, so they need the prefix.
_PREFIX_ONLY = frozenset({"user", "conffile", "job_name", "pidfile"})
# What Kubernetes sets for a Service called pgbouncer.
_SERVICE_LINK = re.compile(r"PGBOUNCER_(?:PORT|SERVICE_(?:HOST|PORT))(?:_.*)?")

ReadFile = Callable[[str], str]


class ContainerError(PgmuxError):
    """The environment can't be made into a configuration; `problems` are lines for the user."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Environment:
    """The variables, looked up one by one; `problems` and `warnings` collect."""

    def __init__(self, environ: Mapping[str, str], read_file: ReadFile) -> None:
        self._environ = environ
        self._read_file = read_file
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def get(self, name: str) -> str | None:
        """The value of a variable, or of the file that `NAME_FILE` names."""
        value = self._environ.get(name) or None
        file_name = f"{name}_FILE"
        # AUTH_FILE, CLIENT_TLS_KEY_FILE … are settings in their own right.
        is_setting = file_name.removeprefix(PREFIX).lower() in SETTINGS
        path = None if is_setting else self._environ.get(file_name) or None
        if path is None:
            return self._checked(name, value)
        if value is not None:
            self.problems.append(f"both {name} and {file_name} are set: set one of them")
        try:
            return self._checked(file_name, self._read_file(path).rstrip("\r\n") or None)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            self.problems.append(f"{file_name}: cannot read {path}: {reason}")
            return None

    def setting(self, key: str) -> tuple[str, str] | None:
        """The variable that counts for a setting, and its value; None where there is none."""
        names = [PREFIX + key.upper()]
        if key not in _PREFIX_ONLY:
            names.append(key.upper())
        for name in names:
            value = self.get(name)
            if value is not None:
                return name, value
        return None

    def settings(self) -> dict[str, str]:
        """Every setting that a variable gives, in SHOW CONFIG's order, its value well-formed."""
        found = {}
        for key, param in SETTINGS.items():
            named = self.setting(key)
            if named is None:
                continue
            name, value = named
            try:
                parse_value(param, value)
            except ValueError as error:
                self.problems.append(f"{name}: not a value of {key}: {error}")
            found[key] = value
        return found

    def entry_keys(self) -> dict[str, str]:
        """What is said of every database."""
        found = {}
        for key in ENTRY_KEYS:
            named = self.setting(key)
            if named is None:
                continue
            name, found[key] = named
            if key == "pool_size" and not found[key].isdecimal():
                self.problems.append(f"{name}: not a value of pool_size: a number is expected")
        return found

    def warn_of_unknown(self) -> None:
        """A variable with the prefix that is nothing is a typing error, or another image's."""
        known = {PREFIX + key.upper() for key in (*SETTINGS, *ENTRY_KEYS)}
        for name in self._environ:
            if not name.startswith(PREFIX) or name in known or _SERVICE_LINK.fullmatch(name):
                continue
            if name.removesuffix("_FILE") not in known:
                hint = nearest(name, known)
                self.warnings.append(f"{name} is no setting: ignored" + (hint and f" ({hint})"))

    def raise_any(self) -> None:
        """Raises: ContainerError, if there is a problem."""
        if self.problems:
            raise ContainerError(self.problems)

    def check_line(self, name: str, value: str) -> bool:
        """Whether a value fits into the files, which are read by lines; else it is a problem."""
        if re.search(r"[\0\r\n]", value):
            self.problems.append(f"{name}: more than one line")
            return False
        return True

    def _checked(self, name: str, value: str | None) -> str | None:
        return value if value is not None and self.check_line(name, value) else None
