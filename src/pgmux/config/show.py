"""SHOW CONFIG's texts, and the console's SET: PgBouncer's settings, and behind them pgmux's own.

Source: PgBouncer's src/admin.c admin_set and show_one_param, lib/usual/cfparser.c cf_get_*.
Errors: `apply_set` raises PoolerError.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgmux.config.advice import warn_of_nonsense
from pgmux.config.ini import Entry
from pgmux.config.model import Config, Settings
from pgmux.config.params import PGMUX_SETTINGS, SETTINGS
from pgmux.config.problems import Problems, clip, nearest
from pgmux.config.values import format_value, parse_value, quoted, shown_text
from pgmux.errors import PoolerError

_ALL_SETTINGS = {**SETTINGS, **PGMUX_SETTINGS}


def show_config(config: Config) -> list[tuple[str, str | None, str | None, str]]:
    """The rows of SHOW CONFIG: key, value, default, changeable."""
    values = {name: show_value(name, config.settings) for name in SETTINGS}
    for name, param in PGMUX_SETTINGS.items():
        values[name] = format_value(param, getattr(config.pgmux, name))
    return [
        (name, value, param.default, "yes" if param.reloadable else "no")
        for (name, value), param in zip(values.items(), _ALL_SETTINGS.values(), strict=True)
    ]


def show_value(setting: str, settings: Settings) -> str | None:
    """PgBouncer's setting as SHOW CONFIG prints it, None for NULL."""
    param = SETTINGS[setting]
    value = getattr(settings, setting)
    text = settings.texts.get(setting)
    if text is not None and parse_value(param, text) == value:
        return text
    return format_value(param, value)


def default_text(setting: str) -> str | None:
    """The default as SHOW CONFIG prints it, None for NULL."""
    return SETTINGS[setting].default


def apply_set(config: Config, name: str, text: str) -> Config:
    """`config` after `SET name = text`. Raises: PoolerError, which leaves the session open."""
    param = _ALL_SETTINGS.get(name)
    if param is None:
        hint = nearest(name, _ALL_SETTINGS)
        raise _set_failed(f"unknown parameter: pgbouncer/{clip(name)}" + (hint and f" ({hint})"))
    if not param.reloadable:
        raise _set_failed(f"parameter {name} can only be changed by a restart")
    try:
        value = parse_value(param, text)
    except ValueError as error:
        message = f"invalid value{quoted(param, text)} for parameter {name} ({error})"
        raise _set_failed(message) from None
    changed: dict[str, Any] = {name: value}
    if name in PGMUX_SETTINGS:
        return replace(config, pgmux=replace(config.pgmux, **changed))
    texts = {**config.settings.texts, name: shown_text(param, value, text)}
    places = {key: place for key, place in config.settings.places.items() if key != name}
    settings = replace(config.settings, **changed, texts=texts, places=places)
    return replace(config, settings=settings)


def set_warnings(name: str, text: str) -> tuple[str, ...]:
    """What a file that says `name = text`, which SET has accepted, would be warned of."""
    problems = Problems()
    entry = Entry("pgbouncer", name, text, file="", line=0)
    warn_of_nonsense(name, parse_value(_ALL_SETTINGS[name], text), entry, problems)
    return tuple(str(problem) for problem in problems.warnings)


def _set_failed(reason: str) -> PoolerError:
    return PoolerError(f"SET failed: {reason}", fatal=False)
