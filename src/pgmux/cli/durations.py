"""A duration on a command line: `5ms`, `1s`, `1.5m`, `10m`, `2h`; a bare number is seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

_UNITS = {"": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0}
_UNITS |= {"h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) ?([a-zµ]*)", re.ASCII | re.I)


if TYPE_CHECKING:
    _FloatType = click.ParamType[float, object]
else:  # generic from Click 8.3 on
    _FloatType = click.ParamType


class Duration(_FloatType):
    """Seconds as a float, within bounds."""

    name = "duration"

    def __init__(self, least: float = 0.0, most: float = 30 * 86400.0) -> None:
        self._least, self._most = least, most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Fails as every parameter does, saying what would do."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        unit = _UNITS.get(found[2].lower()) if found else None
        if found is None or unit is None:
            self.fail(f"{value!r} is no duration: write 5ms, 1s, 10m or 2h", param, ctx)
        seconds = float(found[1]) * unit
        if not self._least <= seconds <= self._most:
            self.fail(f"from {self._least:g} s to {self._most:g} s, not {value}", param, ctx)
        return seconds
