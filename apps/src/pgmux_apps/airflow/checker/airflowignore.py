"""`.airflowignore`, in both of Airflow's syntaxes, and `--exclude`'s patterns.

As `core.dag_ignore_file_syntax` says: `regexp` (Airflow 2's default) searches each expression in
the path below the DAGs folder; `glob` (Airflow 3's) reads the lines as .gitignore's. A pattern of
a folder holds in the folders below it; with glob a later one, `!` too, overrides an earlier one. A
pattern that can't be read is left out, as Airflow leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

NAME = ".airflowignore"
SYNTAXES = ("regexp", "glob")

_COMMENT = re.compile(r"\s*#.*")
_TOKEN = re.compile(
    r"\\(?P<escaped>.)|\[(?P<set>[!^]?\]?[^\]]*)\]|(?P<star>\*+)|(?P<one>\?)|(.)", re.S
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line; `base` is the folder that a path is seen from, None for its last name alone."""

    regex: re.Pattern[str]
    base: PurePosixPath | None
    ignores: bool = True
    marks_folders: bool = False  # by a slash behind their names
    only_folders: bool = False


def read_patterns(text: str, syntax: str, folder: PurePosixPath) -> tuple[list[Pattern], list[str]]:
    """The patterns of a file in `folder` (relative to the DAGs folder), and the unusable lines."""
    patterns, unusable = [], []
    for line in (_COMMENT.sub("", line) for line in text.split("\n")):
        if not line.strip():
            continue
        try:
            patterns.append(
                Pattern(re.compile(line), PurePosixPath())
                if syntax == "regexp"
                else build_glob(line, folder)
            )
        except (re.error, ValueError, OverflowError):
            unusable.append(line)
    return patterns, unusable


def build_glob(line: str, folder: PurePosixPath) -> Pattern:
    """A line of .gitignore's syntax. Raises: ValueError where it means nothing."""
    text = line.rstrip()
    ignores = not text.startswith("!")
    text = text.removeprefix("!")
    names = [name for name in text.split("/") if name]
    if not names:
        raise ValueError(f"{line!r} names nothing")
    is_anchored = "/" in text.rstrip("/")
    end = "/.*" if text.endswith("/") else "(?:/.*)?"
    regex = _regex_of(names, is_anchored) + end
    base = folder if is_anchored else None
    return Pattern(re.compile(rf"\A{regex}\Z", re.S), base, ignores, True, text.endswith("/"))


def _regex_of(names: Sequence[str], is_anchored: bool) -> str:
    """The path's names, joined by `/`; `**` stands for any number of them."""
    regex = "" if is_anchored else "(?:.+/)?"
    needs_slash = False
    for number, name in enumerate(names):
        if name != "**":
            part = "".join(map(_part_of, _TOKEN.finditer(name))) if name != "*" else "[^/]+"
            regex += f"/{part}" if needs_slash else part
            needs_slash = True
        elif number == len(names) - 1:
            regex += "/.*" if needs_slash else ".+"
        else:
            regex += "(?:/.+)?" if needs_slash else "(?:.+/)?"
    return regex


def _part_of(token: re.Match[str]) -> str:
    if token["escaped"]:
        return re.escape(token["escaped"])
    if token["set"]:
        inner = token["set"].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    if token["star"]:
        return "[^/]*"
    return "[^/]" if token["one"] else re.escape(token[0])


def is_ignored(path: PurePosixPath, is_folder: bool, patterns: Iterable[Pattern]) -> bool:
    """Whether the patterns leave out this path, which is relative to the DAGs folder."""
    ignored = False
    for pattern in patterns:
        if pattern.only_folders and not is_folder:
            continue
        if pattern.base is None:
            text = path.name
        elif path.is_relative_to(pattern.base):
            text = str(path.relative_to(pattern.base))
        else:
            continue
        slash = "/" if is_folder and pattern.marks_folders else ""
        if pattern.regex.search(text + slash):
            ignored = pattern.ignores
    return ignored
