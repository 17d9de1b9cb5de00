""".env files and airflow.cfg -> what they write, with lines. Errors: NotRead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pgmux.ops.check.gather.interpolation import interpolate
from pgmux.ops.check.gather.reading import read_bounded
from pgmux.ops.check.gather.variables import UNKNOWN, Written

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.]*)\s*[=:]\s*(.*?)\s*")
_SECTION = re.compile(r"\s*\[([\w.]+)\]\s*")
_SETTING = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_COMMENT = re.compile(r"\s+#.*")


def read_env_file(path: str, variables: Mapping[str, str]) -> list[Written]:
    """A .env file as compose reads it; airflow.cfg as the variables that say the same, where the
    name ends with .cfg. Raises: NotRead.
    """
    text = read_bounded(path)
    pairs = _airflow_settings(text) if path.endswith(".cfg") else _assignments(text)
    found: list[Written] = []
    known = dict(variables)
    for line, name, raw in pairs:
        if raw[:1] == "'" == raw[-1:] and len(raw) > 1:
            raw = value = raw[1:-1]
        else:
            raw = raw[1:-1] if raw[:1] == '"' == raw[-1:] and len(raw) > 1 else raw
            value = interpolate(raw, known, UNKNOWN)
        known.setdefault(name, value)
        found.append(Written(name, raw, value, path, line))
    return found


def _assignments(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        value = match[2]
        quoted = re.match(r"""("(?:[^"\\]|\\.)*"|'[^']*')(?:\s+#.*)?$""", value)
        yield number, match[1], quoted[1] if quoted else _COMMENT.sub("", value)


def _airflow_settings(text: str) -> Iterator[tuple[int, str, str]]:
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _SECTION.fullmatch(line)) is not None:
            section = found[1]
        elif (setting := _SETTING.fullmatch(line)) is not None:
            name = f"AIRFLOW__{section}__{setting[1]}".upper()
            yield number, name, setting[2].replace("%%", "%")
