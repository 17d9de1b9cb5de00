"""Settings out of environment variables: an error names the variable and says what is accepted.

The methods here show the value, but not a URL's, as none that they read holds a secret; who reads
another by `text` mustn't. An empty variable counts as absent: compose files set what they have no
value for.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
# int() alone would take 1_000 and the digits of other scripts, which nobody means, and raise for
# thousands of them.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MOST_SECRET = 65536  # characters, of a file that should hold one line


class SettingError(ValueError):
    """A setting that can't be used: which one, the form of its value, and what is accepted."""


class Environment:
    """Environment variables, read by type; `values` instead of the process's own."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = os.environ if values is None else values

    def __repr__(self) -> str:
        """Names nothing: there are passwords among the values."""
        return f"Environment({len(self._values)} variables)"

    def given(self, name: str) -> str | None:
        """The variable's value without white space around it; None where it is empty or absent."""
        return self._values.get(name, "").strip() or None

    def text(self, name: str, default: str) -> str:
        """The variable's value, or `default`."""
        return self.given(name) or default

    def secret(self, name: str) -> str | None:
        """The variable's very value, or what the file holds that `NAME_FILE` names, without the end
        of its last line; None where neither is given. Neither is ever shown. Raises: SettingError.
        """
        value = self._values.get(name) or None
        path = self.given(f"{name}_FILE")
        if path is None:
            return value
        if value is not None:
            raise SettingError(f"{name} and {name}_FILE are both given: one of them is accepted")
        return _read_secret(f"{name}_FILE", path)

    def flag(self, name: str, default: bool, *, also: str = "") -> bool:
        """True or false in the usual spellings, in capitals or not. Raises: SettingError, which
        says `also` of what the caller takes beside them.
        """
        value = self.given(name)
        if value is None:
            return default
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise SettingError(
            f"{_shown(name, value)}: true or false (1, 0, yes, no, on, off) is accepted{also}"
        )

    def integer(self, name: str, default: int, *, least: int, most: int, also: str = "") -> int:
        """An integer between the two, both included; `also` as of flag(). Raises: SettingError."""
        value = self.given(name)
        if value is None:
            return default
        number = int(value) if _INTEGER.fullmatch(value) else None
        if number is None or not least <= number <= most:
            raise SettingError(
                f"{_shown(name, value)}: an integer from {least} to {most} is accepted{also}"
            )
        return number

    def seconds(self, name: str, default: float, *, least: float, most: float) -> float:
        """A time in seconds between the two, both included. Raises: SettingError."""
        value = self.given(name)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if "_" in value or not value.isascii() or not least <= number <= most:  # also NaN
            raise SettingError(
                f"{_shown(name, value)}: seconds from {least:g} to {most:g}, without a unit"
            )
        return number

    def choice(self, name: str, default: str, accepted: Sequence[str]) -> str:
        """One of `accepted`, in capitals or not. Raises: SettingError."""
        value = self.given(name)
        if value is None:
            return default
        if value.lower() not in accepted:
            raise SettingError(f"{_shown(name, value)}: {', '.join(accepted)} are accepted")
        return value.lower()


def _read_secret(name: str, path: str) -> str:
    """What the file holds. The error doesn't show the path: it may be the secret, put there."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(_MOST_SECRET + 1).removesuffix("\n").removesuffix("\r")
        reason = "" if text else "it is empty"
    except OSError as error:
        reason = error.strerror or "it can't be read"
    except ValueError:
        reason = "it isn't UTF-8 text"
    if not reason and len(text) > _MOST_SECRET:
        reason = f"it is longer than {_MOST_SECRET} characters"
    if reason:  # outside of the handlers, whose error would show path or content beside ours
        raise SettingError(f"{name}: a file that holds the value is accepted, but: {reason}")
    return text


def _shown(name: str, value: str) -> str:
    """`name='value'`, on one line and not endless; only the form of what may hold a password."""
    if "://" in value or "password" in value.lower():
        return f"{name} is a URL or connection string of {len(value)} characters"
    return f"{name}={value[:40]!r}{'…' if len(value) > 40 else ''}"
