"""Write what the environment says into the pooler's directory, before the pooler starts.

An existing pgbouncer.ini is left as it is. With PGB_ENV_OVERRIDES=1 the settings that variables
give are laid over it: into a copy, which the command is then given, as a mounted file is often
read-only. auth_file is made where it is missing, and lacking users are added, for this account's
eyes only.
Errors: `ContainerError`, before anything is written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgmux.ops.container import files
from pgmux.ops.container.backends import Backend, find_backends
from pgmux.ops.container.environment import ContainerError, Environment

OVERRIDES = "PGB_ENV_OVERRIDES"
INI = "pgbouncer.ini"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The command to run, and what to tell the user before."""

    command: list[str]
    told: list[str]
    warnings: list[str]


def prepare(environ: Mapping[str, str], command: Sequence[str], directory: Path) -> Prepared:
    """Make the files that `command` reads. A command that doesn't name the ini needs none."""
    ini = directory / INI
    if str(ini) not in command:
        return Prepared(list(command), [], [])
    environment = Environment(environ, lambda path: Path(path).read_text(encoding="utf-8"))
    environment.warn_of_unknown()
    settings = environment.settings()
    backends = find_backends(environment)
    userlist = Path(settings.get("auth_file", directory / "userlist.txt"))
    if not ini.exists():
        text = _new_ini(ini, environment, backends, {"auth_file": str(userlist), **settings})
        users = _missing_users(userlist, backends, environment.problems)
        environment.raise_any()
        told = [*_append_users(userlist, users), *_write(ini, text)]
        return Prepared(list(command), told, environment.warnings)
    overrides = environ.get(OVERRIDES) == "1" and bool(settings)
    text = _overridden(ini, environment, settings) if overrides else ""
    # Whether this file is the one that the ini names isn't known: what fails is no error then.
    users = _missing_users(userlist, backends, environment.warnings)
    environment.raise_any()
    told = []
    if users:
        try:
            told = _append_users(userlist, users)
        except ContainerError as error:
            environment.warnings.extend(error.problems)
    if not overrides:
        _warn_of_unused(ini, environment, settings)
        return Prepared(list(command), told, environment.warnings)
    copy = _make_directory(ini) / INI
    told += _write(copy, text)
    changed = [str(copy) if argument == str(ini) else argument for argument in command]
    return Prepared(changed, told, environment.warnings)


def _new_ini(
    ini: Path, environment: Environment, backends: list[Backend], settings: dict[str, str]
) -> str:
    if not backends and not environment.problems:
        environment.problems.append(
            f"no database: set DATABASE_URL, or DB_HOST and the like, or mount {ini}"
        )
    said = _said_by_urls(environment, backends, settings)
    try:
        return files.ini_text(backends, environment.entry_keys(), {**said, **settings})
    except ValueError as error:
        environment.problems.append(str(error))
        return ""


def _said_by_urls(
    environment: Environment, backends: list[Backend], settings: Mapping[str, str]
) -> dict[str, str]:
    """The URLs' settings; they have to agree where no variable decides."""
    said: dict[str, str] = {}
    for backend in backends:
        for key, value in backend.settings.items():
            if said.setdefault(key, value) != value and key not in settings:
                environment.problems.append(
                    f"DATABASE_URLS: {key} is one for all servers, and the URLs differ in it"
                )
    return said


def _make_directory(ini: Path) -> Path:
    """Raises: ContainerError."""
    try:
        return Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    except OSError as error:
        problem = f"no place for the copy of {ini}: {error.strerror or error}"
        hint = "mount a volume that this user can write at /tmp, or name one by TMPDIR"
        raise ContainerError([f"{problem} ({hint})"]) from error


def _warn_of_unused(ini: Path, environment: Environment, settings: Mapping[str, str]) -> None:
    """What variables say, and this file, which counts, doesn't."""
    try:
        lines = {line.replace(" ", "") for line in ini.read_text(encoding="utf-8").splitlines()}
    except (OSError, UnicodeError):  # the pooler will say so
        return
    unused = [
        key for key, value in settings.items() if f"{key}={value}".replace(" ", "") not in lines
    ]
    if unused:
        environment.warnings.append(
            f"{ini} is there already, so variables don't count: {', '.join(unused)}"
            f" ({OVERRIDES}=1 lays them over it)"
        )


def _overridden(ini: Path, environment: Environment, settings: Mapping[str, str]) -> str:
    try:
        return files.with_settings(ini.read_text(encoding="utf-8"), settings)
    except (OSError, ValueError) as error:
        environment.problems.append(f"{ini}: {getattr(error, 'strerror', None) or error}")
        return ""


def _missing_users(path: Path, backends: list[Backend], problems: list[str]) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return files.missing_users(text, str(path), backends)
    except (OSError, ValueError) as error:
        problems.append(f"auth_file {path}: {getattr(error, 'strerror', None) or error}")
        return {}


def _append_users(path: Path, users: Mapping[str, str]) -> list[str]:
    """In place: a file that is mounted by itself can't be replaced. Raises: ContainerError."""
    try:
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            file.write(files.user_lines(file.read().decode(), users).encode())
    except OSError as error:
        raise _cannot_write(path, error) from error
    return [f"Wrote the password of {user} to {path}" for user in users]


def _write(path: Path, text: str) -> list[str]:
    """In one step, readable by this account alone. Raises: ContainerError."""
    try:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return [f"Wrote {path}"]


def _cannot_write(path: Path, error: OSError) -> ContainerError:
    hint = "mount the file, or a volume that this user can write"
    return ContainerError([f"cannot write {path}: {error.strerror} ({hint})"])
