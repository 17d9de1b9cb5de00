"""A configuration from texts: what the tests of this directory share."""

from __future__ import annotations

from collections.abc import Callable

from pgmux.config import Config, load_config
from pgmux.errors import ConfigError


def reader(files: dict[str, str]) -> Callable[[str], str]:
    """A `read` function over these files and no others."""

    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path]

    return read


def load(text: str, /, pgmux: str | None = None, **files: str) -> Config:
    """The configuration of a.ini; `pgmux` is pgmux.ini; other files by name, `_` for the dot."""
    texts = {name.replace("_", "."): content for name, content in files.items()}
    texts["a.ini"] = text
    if pgmux is not None:
        texts["pgmux.ini"] = pgmux
    return load_config("a.ini", reader(texts), None if pgmux is None else "pgmux.ini")


def problems_of(text: str, /, pgmux: str | None = None, **files: str) -> list[str]:
    """What is wrong with it, a line each; loading it must fail."""
    try:
        load(text, pgmux, **files)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    raise AssertionError("this configuration was accepted")


def warnings_of(text: str, /, **files: str) -> list[str]:
    return [str(problem) for problem in load(text, None, **files).warnings]
