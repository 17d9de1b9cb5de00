"""Whether a pool is well, as JSON for a health endpoint, and the limits by which that is said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote, quote_plus

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy.measurement import PoolMeasurement, pool_of
from pgmux_apps.sqlalchemy.pools import find_measurement, read_state


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """From where on a pool isn't healthy; the alerts of deploy/prometheus have the same.

    `critical_timeout_seconds`: for how long a checkout that timed out keeps it critical.
    """

    warning_percent: float = 75.0
    critical_percent: float = 90.0
    warning_waiters: int = 1
    critical_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Raises: SettingError."""
        if not 0 < self.warning_percent <= self.critical_percent <= 100:
            raise SettingError(
                f"warning_percent={self.warning_percent}, critical_percent="
                f"{self.critical_percent}: more than 0, at most 100, in this order"
            )
        if not self.warning_waiters >= 1:
            raise SettingError(f"warning_waiters={self.warning_waiters}: 1 or more")
        if not self.critical_timeout_seconds >= 0:
            raise SettingError(
                f"critical_timeout_seconds={self.critical_timeout_seconds}: 0 or more"
            )


DEFAULT_LIMITS = HealthLimits()


def check_pool_health(
    engine: Any, pool_name: str | None = None, *, limits: HealthLimits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """The pool's numbers and its status, ready for JSON; asks neither pool nor database for a
    connection, and raises nothing.

    `status`: `critical` and `warning` by `limits`, `error` where no connection can be had at all or
    nothing can be said, with `error` saying why. `reasons` has a sentence for each. `pool_name`
    None is the name that the engine was set up with, or `default`. Of an engine that wasn't set up
    neither waiters nor timeouts nor errors are known.
    """
    try:
        return _check(engine, pool_name, limits)
    except Exception as error:  # whatever it is: the health endpoint is to say so
        text = _without_secrets(f"{type(error).__name__}: {error}", engine)
        return _answer(pool_name or "default", "error", [text]) | {"error": text}


def _check(engine: Any, pool_name: str | None, limits: HealthLimits) -> dict[str, Any]:
    pool = pool_of(engine)
    measurement = find_measurement(pool)
    name = pool_name or ("default" if measurement is None else measurement.named.name)
    state = read_state(pool)
    ratio = state.utilization_ratio
    percent = None if ratio is None else round(100 * ratio, 2)
    numbers: dict[str, Any] = {
        "size": state.size,
        "checked_out": state.checked_out,
        "checked_in": state.checked_in,
        "overflow": state.overflow,
        "utilization_percent": percent,
        "total_capacity": state.capacity,
    }
    if state.size is None:
        numbers["pool_class"] = type(pool).__name__  # says why there are no more numbers
    critical: list[str] = []
    warning: list[str] = []
    if percent is not None:
        text = f"{state.checked_out} of {state.capacity} connections are checked out"
        if percent >= limits.critical_percent:
            critical.append(f"{text}: {limits.critical_percent:g} % is critical")
        elif percent >= limits.warning_percent:
            warning.append(f"{text}: {limits.warning_percent:g} % is a warning")
    error = None
    if measurement is not None:
        numbers |= _measured(measurement, limits, critical, warning)
        if measurement.failure is not None:
            at, text = measurement.failure
            error = _without_secrets(text, engine)
            numbers["error_seconds_ago"] = round(monotonic() - at, 3)
    reasons = critical + warning
    if error is not None:
        reasons.insert(0, f"the last attempt to get a connection failed: {error}")
        return _answer(name, "error", reasons, numbers) | {"error": error}
    status = "critical" if critical else "warning" if warning else "healthy"
    return _answer(name, status, reasons, numbers)


def _measured(
    measurement: PoolMeasurement, limits: HealthLimits, critical: list[str], warning: list[str]
) -> dict[str, Any]:
    """What only a measured pool knows; adds to the reasons."""
    now = monotonic()
    told: dict[str, Any] = {
        "waiters": measurement.waiters,
        "timeouts": measurement.named.counts.timeouts,
    }
    since = None if measurement.timeout_at is None else now - measurement.timeout_at
    if since is not None and since < limits.critical_timeout_seconds:
        critical.append(f"a checkout timed out {since:.0f} s ago")
    if measurement.waiters >= limits.warning_waiters:
        warning.append(f"{measurement.waiters} wait for a connection")
    if measurement.leaks is not None:
        measurement.look_for_leaks()
        late = measurement.leaks.too_long(measurement.held, now)
        told["held_too_long"] = [each.as_json(now) for each in late]
        if late:
            limit = measurement.leaks.limit
            warning.append(f"{len(late)} connections are held for more than {limit:g} s")
    return told


def _answer(
    name: str, status: str, reasons: list[str], numbers: dict[str, Any] | None = None
) -> dict[str, Any]:
    unknown = dict.fromkeys(
        ("size", "checked_out", "checked_in", "overflow", "utilization_percent", "total_capacity")
    )
    return {"pool_name": name, "status": status} | (numbers or unknown) | {"reasons": reasons}


_USERINFO = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")
_PARAMETER = re.compile(
    r"""(?i)\b(password|passwd|pwd)("?\s*[=:]\s*)('[^']*'|"[^"]*"|[^\s&,;)]+)"""
)


def _without_secrets(text: str, engine: Any) -> str:
    """`text` without the password of the engine's URL, and without what looks like one."""
    url = getattr(getattr(engine, "sync_engine", engine), "url", None)
    secrets = [getattr(url, "password", None)]
    place = [getattr(url, "host", None), getattr(url, "database", None)]
    if "@" in f"{place}":  # the password's, written as it is, and its rest is taken for a place
        secrets += place
    for secret in filter(None, secrets):
        for form in {str(secret), quote(str(secret), safe=""), quote_plus(str(secret))}:
            text = text.replace(form, "***")
    return _PARAMETER.sub(r"\1\2***", _USERINFO.sub(r"\1***@", text))
