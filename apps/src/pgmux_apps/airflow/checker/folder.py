"""The files of a DAGs folder: which there are, and which module a dotted name is.

Symbolic links are followed, as Airflow follows them, but into each folder once; only regular files
are ever opened, so that a pipe or a device named `x.py` holds up nothing. What is left out for
another reason than `.airflowignore` or `--exclude` is in `skipped`, with the reason.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from pgmux_apps.airflow.checker import airflowignore
from pgmux_apps.airflow.checker.airflowignore import Pattern

MOST_BYTES = 5_000_000  # of one file: the tree that Python makes of it is a hundred times larger
MOST_MEMBERS = 10_000  # of one zip file
SUFFIXES = (".py", ".ipynb", ".zip")


@dataclass(frozen=True)
class Source:
    """One file to check: `path` on disk, `member` in it where it is a zip file."""

    path: Path
    shown: str  # as the user named the folder
    root: Path  # what dotted names start from: the DAGs folder or the zip file
    member: str | None = None

    @cached_property
    def relative(self) -> PurePosixPath:
        """The path as seen from the root."""
        return PurePosixPath(self.member or self.path.relative_to(self.root).as_posix())

    @cached_property
    def package(self) -> tuple[str, ...]:
        """The package that a relative import starts from."""
        return self.relative.parent.parts

    @property
    def is_notebook(self) -> bool:
        return self.relative.suffix == ".ipynb"


@dataclass(slots=True)
class Folder:
    """A DAGs folder; `sources()` walks through it once."""

    path: Path
    syntax: str = "glob"
    excluded: Sequence[Pattern] = ()
    skipped: list[tuple[str, str]] = field(default_factory=list)
    _patterns: dict[PurePosixPath, list[Pattern]] = field(default_factory=dict)
    _modules: dict[tuple[Path, tuple[str, ...]], Source | None] = field(default_factory=dict)
    _members: dict[Path, frozenset[str]] = field(default_factory=dict)

    def sources(self) -> Iterator[Source]:
        """Every file to check, folder by folder, in the order of their names."""
        seen = {_identity(self.path.stat())}
        waiting = [self.path]
        while waiting:
            folder = waiting.pop()
            below = []
            for entry in self._entries(folder):
                path, relative = folder / entry.name, self._relative(folder / entry.name)
                try:
                    status = entry.stat()
                except OSError as error:
                    if entry.name.endswith(SUFFIXES) or entry.is_symlink():
                        self._skip(path, _reason(error))
                    continue
                is_folder = stat.S_ISDIR(status.st_mode)
                if self._is_left_out(relative, is_folder):
                    continue
                if not is_folder:
                    yield from self._of_file(path, status)
                elif entry.name == "__pycache__" or entry.name.startswith(".git"):
                    continue
                elif _identity(status) in seen or self.path.resolve().is_relative_to(
                    path.resolve()
                ):
                    self._skip(path, "a link to a folder that was read already; Airflow stops here")
                else:
                    seen.add(_identity(status))
                    below.append(path)
            waiting += reversed(below)

    def source(self, path: Path) -> Iterator[Source]:
        """One file of the folder, if it isn't left out. Raises: OSError, ValueError."""
        absolute = path.absolute()
        inside = Path(os.path.normpath(absolute))
        base = Path(os.path.normpath(self.path.absolute()))
        if not inside.is_relative_to(base):
            raise ValueError(f"{path} isn't in {self.path}")
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{path} is a folder; files are expected behind {self.path}")
        relative = PurePosixPath(inside.relative_to(base).as_posix())
        for above in reversed(relative.parents):
            if above.parts and self._is_left_out(above, is_folder=True):
                return
        if not self._is_left_out(relative, is_folder=False):
            yield from self._of_file(self.path / relative, status)

    def module(self, root: Path, names: tuple[str, ...]) -> Source | None:
        """The file of the module of that dotted name, None if it is none of the folder's."""
        key = (root, names)
        if key not in self._modules:
            self._modules[key] = self._find_module(root, names)
        return self._modules[key]

    def _find_module(self, root: Path, names: tuple[str, ...]) -> Source | None:
        if not names or not all(name.isidentifier() for name in names):
            return None
        stem = PurePosixPath(*names)
        for relative in (stem.with_suffix(".py"), stem / "__init__.py"):
            if root in self._members:
                if str(relative) in self._members[root]:
                    return Source(root, f"{self._shown(root)}/{relative}", root, str(relative))
            elif (root / relative).is_file():
                path = root / relative
                return Source(path, self._shown(path), root)
        return None

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder, and its patterns read; nothing, and a note, if it can't be read."""
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._skip(folder, _reason(error))
            return []

    def _of_file(self, path: Path, status: os.stat_result) -> Iterator[Source]:
        if path.suffix not in SUFFIXES:
            return
        if not stat.S_ISREG(status.st_mode):
            self._skip(path, "not a regular file")
        elif path.suffix == ".zip":
            yield from self._of_zip(path)
        else:
            yield Source(path, self._shown(path), self.path)

    def _of_zip(self, path: Path) -> Iterator[Source]:
        """The Python files of a zip file, which Airflow reads as a folder of its own."""
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".py")]
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            self._skip(path, f"not a zip file that can be read ({error})")
            return
        if len(names) > MOST_MEMBERS:
            self._skip(path, f"{len(names)} Python files in it, more than {MOST_MEMBERS}")
            return
        self._members[path] = frozenset(names)
        for name in sorted(names):
            yield Source(path, f"{self._shown(path)}/{name}", path, name)

    def _is_left_out(self, relative: PurePosixPath, is_folder: bool) -> bool:
        patterns = [*self._patterns_of(relative.parent), *self.excluded]
        return airflowignore.is_ignored(relative, is_folder, patterns)

    def _patterns_of(self, folder: PurePosixPath) -> list[Pattern]:
        """The patterns that hold in a folder: of its own file, behind those of the ones above."""
        if folder not in self._patterns:
            above = self._patterns_of(folder.parent) if folder.parts else []
            self._patterns[folder] = above + self._read_patterns(folder)
        return self._patterns[folder]

    def _read_patterns(self, folder: PurePosixPath) -> list[Pattern]:
        path = self.path / folder / airflowignore.NAME
        try:
            text = read_bytes(path).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError) as error:
            self._skip(path, _reason(error))
            return []
        patterns, unusable = airflowignore.read_patterns(text, self.syntax, folder)
        for line in unusable:
            self._skip(path, f"the pattern {line!r} can't be used as {self.syntax}")
        return patterns

    def _relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.path).as_posix())

    def _shown(self, path: Path) -> str:
        return path.as_posix()

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append((self._shown(path), reason))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a symbolic link that leads to itself"
    if isinstance(error, FileNotFoundError):
        return "a symbolic link to nothing"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def read_bytes(path: Path) -> bytes:
    """A regular file's bytes; never waits for a pipe. Raises: OSError; ValueError if too large."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > MOST_BYTES:
            raise ValueError(_too_large(status.st_size))
        return file.read(MOST_BYTES)


def read_source(source: Source) -> bytes:
    """What stands in a source. Raises: OSError, ValueError."""
    if source.member is None:
        return read_bytes(source.path)
    try:
        with zipfile.ZipFile(source.path) as archive:
            size = archive.getinfo(source.member).file_size
            if size > MOST_BYTES:
                raise ValueError(_too_large(size))
            with archive.open(source.member) as file:
                return file.read(MOST_BYTES)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"can't be read from the zip file: {error}") from None


def _too_large(size: int) -> str:
    return f"{size / 1e6:.1f} MB; files above {MOST_BYTES / 1e6:.0f} MB aren't read"
