"""The configuration's files, and those with secrets: modes, owners, what git has of them."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.config.ini import read_ini
from pgmux.config.load import SECTIONS
from pgmux.config.model import Config
from pgmux.config.problems import Problems
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts import EnvironmentFacts
from pgmux.ops.check.facts.files import FileFacts, FileKind
from pgmux.ops.check.gather.configuration import place_of, reader
from pgmux.ops.check.gather.reading import shown

_GIT = ("git", "-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null")
_GIT_TIMEOUT = 5.0  # seconds
MOST_TOLD = 10  # secrets of one file, by name
_NOT_TRACKED = 1  # exit code of git ls-files --error-unmatch


def gather(
    config_file: str, config: Config | None, environment: EnvironmentFacts | None
) -> tuple[tuple[FileFacts, ...], list[Unread]]:
    """Of each file once; those that can't be looked at are `Unread`."""
    found: dict[str, FileFacts] = {}
    unread: list[Unread] = []
    for path, kind, secrets, usable in (
        *_of_config(config, config_file, environment),
        *_of_environment(environment),
    ):
        if path in found:
            continue
        place: str | None = path
        if kind not in (FileKind.ENV, FileKind.COMPOSE):
            place = place_of(path, config_file, environment)
        if place is None:
            continue
        try:
            found[path] = _look_at(shown(place), kind, secrets, usable)
        except OSError as error:
            advice = "run as whom may read it" if isinstance(error, PermissionError) else ""
            unread.append(Unread("files", f"{path}: {error.strerror}", advice))
    return tuple(found.values()), unread


_Named = tuple[str, FileKind, str, bool]


def _of_config(
    config: Config | None, config_file: str, environment: EnvironmentFacts | None
) -> Iterator[_Named]:
    if config is None or (environment is not None and config is environment.made):
        return
    settings = config.settings
    secrets = _config_secrets(config_file, environment)
    for path in config.files:
        if path == settings.auth_file:
            yield path, FileKind.USERLIST, *_userlist_secrets(config.userlist.values())
        elif path == settings.auth_hba_file:
            yield path, FileKind.HBA, "", False
        elif path != settings.auth_ident_file:
            said = secrets.get(path, "")
            yield path, FileKind.CONFIG, said, bool(said)
    for path in (settings.client_tls_key_file, settings.server_tls_key_file):
        if path:
            yield path, FileKind.KEY, "a private key", True


def _userlist_secrets(secrets: Iterable[str]) -> tuple[str, bool]:
    kinds = [parse_secret(secret).kind for secret in secrets if secret]
    names = {
        SecretKind.PLAINTEXT: "passwords as they are",
        SecretKind.MD5: "MD5 hashes, which let in whoever has them",
        SecretKind.SCRAM: "SCRAM verifiers",
    }
    said = [f"{name}: {kinds.count(kind)}" for kind, name in names.items() if kind in kinds]
    return ", ".join(said), any(kind is not SecretKind.SCRAM for kind in kinds)


def _config_secrets(config_file: str, environment: EnvironmentFacts | None) -> dict[str, str]:
    """What each file of the configuration, of those that it includes too, has for passwords."""
    found: dict[str, list[str]] = {}
    entries, _ = read_ini(config_file, reader(config_file, environment), SECTIONS, Problems())
    for entry in entries:
        is_database = entry.section == "databases" and entry.key is not None
        if is_database and re.search(r"\bpassword\s*=", entry.value):
            found.setdefault(entry.file, []).append(f"password= of {entry.key}")
        if "ldapbindpasswd" in entry.value:
            found.setdefault(entry.file, []).append("ldapbindpasswd")
    return {file: _some(said) for file, said in found.items()}


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - MOST_TOLD} more" if len(texts) > MOST_TOLD else ""
    return ", ".join(texts[:MOST_TOLD]) + more


def _of_environment(environment: EnvironmentFacts | None) -> Iterator[_Named]:
    if environment is None:
        return
    by_file: dict[tuple[str, FileKind], list[str]] = {}
    for secret in environment.secrets:
        kind = FileKind.COMPOSE if secret.is_compose else FileKind.ENV
        by_file.setdefault((secret.file, kind), []).append(f"{secret.variable}:{secret.line}")
    for (path, kind), names in by_file.items():
        lines = [f"{name} (line {line})" for name, _, line in (n.rpartition(":") for n in names)]
        yield path, kind, ", ".join(dict.fromkeys(lines)), True


def _look_at(path: str, kind: FileKind, secrets: str, usable: bool) -> FileFacts:
    """Raises: OSError."""
    status = os.stat(path)
    return FileFacts(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        _owner(status.st_uid),
        secrets,
        usable,
        is_open=bool(status.st_mode & stat.S_IROTH) and _is_reachable(path),
        is_committed=_is_committed(path) if secrets else None,
    )


def _is_reachable(path: str) -> bool:
    """Whether everybody gets as far as the file: a closed directory above it is as good a lock."""
    directory = os.path.dirname(os.path.realpath(path))
    while True:
        if not os.stat(directory).st_mode & stat.S_IXOTH:
            return False
        above = os.path.dirname(directory)
        if above == directory:
            return True
        directory = above


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_committed(path: str) -> bool | None:
    """Whether git tracks the file. git runs no hook and no monitor of that repository."""
    directory, name = os.path.split(os.path.abspath(path))
    environ = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = [*_GIT, "-C", directory, "ls-files", "--error-unmatch", "--", f":(literal){name}"]
    try:
        ran = subprocess.run(
            command, env=environ, capture_output=True, timeout=_GIT_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if ran.returncode in (0, _NOT_TRACKED):
        return ran.returncode == 0
    return False if b"not a git repository" in ran.stderr else None
