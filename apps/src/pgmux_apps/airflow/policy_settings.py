"""The section `[pgmux]` of Airflow's configuration, as the policy reads it.

An error in it is one sentence. It doesn't turn `enforce` into less: whoever wrote that relies on no
task getting past, so every DAG is refused with that sentence until it is right, as Airflow itself
doesn't start with nonsense in its own sections. A `policy` that is itself unreadable is `warn`, as
nobody has asked for more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.settings import split_names, split_ports
from pgmux_apps.environment import SettingError

T = TypeVar("T")


class Mode(Enum):
    """What becomes of a finding."""

    WARN = "warn"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What is accepted, and what becomes of the rest."""

    mode: Mode = Mode.WARN
    policy: Policy = field(default_factory=Policy)
    error: str | None = None  # in the section; the defaults stand for what is wrong


def read(setting: Callable[[str], str | None]) -> PolicySettings:
    """The section; `setting(name)` is a value's text. Never raises: `error` says what is wrong."""
    errors: list[str] = []

    def parsed(name: str, parse: Callable[[str, str], T], default: T) -> T:
        text = setting(name)
        if text is None:
            return default
        try:
            return parse(str(text).strip(), f"[pgmux] {name}")
        except SettingError as error:
            errors.append(str(error))
            return default

    default = Policy()
    mode = parsed("policy", _mode, Mode.WARN)
    policy = Policy(
        pools=parsed("pool", split_names, default.pools),
        direct_ports=parsed("direct_ports", split_ports, default.direct_ports),
        database_conn_types=parsed("database_conn_types", split_names, default.database_conn_types),
    )
    return PolicySettings(mode, policy, "; ".join(errors) or None)


def _mode(text: str, where: str) -> Mode:
    try:
        return Mode(text.lower())
    except ValueError:
        raise SettingError(f"{where} = {text[:40]!r}: off, warn and enforce are accepted") from None
