"""The settings of `[pgmux]`, out of airflow.cfg and the environment, without Airflow.

As Airflow finds them: `AIRFLOW__PGMUX__POOL` before `[pgmux] pool` of `$AIRFLOW_CONFIG`, else of
`airflow.cfg` in `$AIRFLOW_HOME`, else in `~/airflow`. A value that can't be used is an error that
names where it stands.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pgmux_apps.airflow.checker.airflowignore import SYNTAXES
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.environment import SettingError

_MOST = 1_000_000  # bytes of an airflow.cfg


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it stands."""

    value: str
    where: str


class AirflowSettings:
    """Airflow's configuration, as far as files and environment have it. Raises: SettingError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._path = _config_path(environ)
        self._file = configparser.RawConfigParser(strict=False, inline_comment_prefixes=None)
        try:
            with self._path.open(encoding="utf-8") as file:
                self._file.read_string(file.read(_MOST))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise SettingError(f"{self._path} can't be read: {error.strerror}") from None
        except (configparser.Error, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise SettingError(f"{self._path} isn't an airflow.cfg: {reason}") from None

    def get(self, section: str, key: str) -> Setting | None:
        """A setting that has a value."""
        name = f"AIRFLOW__{section}__{key}".upper()
        value = self._environ.get(name, "").strip()
        if value:
            return Setting(value, name)
        value = self._file.get(section, key, fallback="").strip()
        return Setting(value, f"{self._path}: [{section}] {key}") if value else None


def _config_path(environ: Mapping[str, str]) -> Path:
    if environ.get("AIRFLOW_CONFIG"):
        return Path(environ["AIRFLOW_CONFIG"]).expanduser()
    home = environ.get("AIRFLOW_HOME") or os.path.join(environ.get("HOME", "~"), "airflow")
    return Path(home).expanduser() / "airflow.cfg"


def split_names(text: str, where: str) -> tuple[str, ...]:
    """Names between commas. Raises: SettingError where there is none."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise SettingError(f"{where} = {text!r}: names are accepted, with commas between them")
    return names


def split_ports(text: str, where: str) -> tuple[int, ...]:
    """Port numbers between commas, or `none`. Raises: SettingError."""
    names = () if text.lower() == "none" else split_names(text, where)
    if not all(name.isascii() and name.isdigit() and 0 < int(name) < 65536 for name in names):
        message = "port numbers from 1 to 65535, with commas between them, or none are accepted"
        raise SettingError(f"{where} = {text!r}: {message}")
    return tuple(map(int, names))


def read_count(text: str, where: str) -> int:
    """Zero or more. Raises: SettingError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SettingError(f"{where} = {text!r}: an integer from 0 is accepted")
    return int(text)


def read_policy(settings: AirflowSettings, airflow: int) -> Policy:
    """The policy that the configuration says. Raises: SettingError."""
    default = Policy()
    pools = settings.get("pgmux", "pool")
    ports = settings.get("pgmux", "direct_ports")
    types = settings.get("pgmux", "database_conn_types")
    prepared = settings.get("pgmux", "max_prepared_statements")
    return Policy(
        split_names(pools.value, pools.where) if pools else default.pools,
        split_ports(ports.value, ports.where) if ports else default.direct_ports,
        split_names(types.value, types.where) if types else default.database_conn_types,
        read_count(prepared.value, prepared.where) if prepared else default.max_prepared_statements,
        airflow,
    )


def read_syntax(settings: AirflowSettings, airflow: int) -> str:
    """The syntax of .airflowignore files. Raises: SettingError."""
    given = settings.get("core", "dag_ignore_file_syntax")
    if given is None:
        return "glob" if airflow >= 3 else "regexp"
    if given.value not in SYNTAXES:
        raise SettingError(f"{given.where} = {given.value!r}: {' or '.join(SYNTAXES)} is accepted")
    return given.value


def installed_airflow() -> int | None:
    """The major version of the Airflow of this Python, without importing it; 2 or 3 today."""
    # Airflow 3 can be installed without the package that names all of it
    for name in ("apache-airflow", "apache-airflow-core"):
        try:
            major = metadata.version(name).split(".")[0]
        except metadata.PackageNotFoundError:
            continue
        return int(major) if major.isdigit() else None
    return None
