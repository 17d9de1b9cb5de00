"""One file as a syntax tree: Python in any encoding that PEP 263 knows, or a notebook's cells.

A notebook's code cells become one module, as they share their names; `place()` says which cell a
line came from. What can't be read is in `problems`, and the rest goes on: a cell that isn't Python
doesn't hide the others. Lines that only IPython understands (`%…`, `!…`, `…?`) are left out.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
import warnings
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

_LINE_END = re.compile(r"\r\n|\r|\n")
_MAGIC = re.compile(r"^(\s*)(?:([\w., ]+=\s*)?[%!]|\?).*$|^(\s*)\S+\?\??\s*$")
_PYTHON_CELL = re.compile(r"\s*%%(?:time|timeit|capture|prun)\b")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: lines and columns from 1, in the cell if there is one."""

    line: int
    column: int
    cell: int | None = None


@dataclass(slots=True)
class Document:
    """A file that was read; `tree` holds what could be parsed of it."""

    tree: ast.Module
    lines: list[str]
    problems: list[tuple[Place, str]] = field(default_factory=list)
    cells: list[tuple[int, int]] = field(default_factory=list)  # (first line in `lines`, number)
    file_lines: dict[int, int] = field(default_factory=dict)  # a notebook's: of the JSON text

    def place(self, line: int, offset: int) -> Place:
        """The place of a node's lineno and col_offset (which counts UTF-8 bytes)."""
        text = self.line(line).encode("utf-8", "replace")
        column = len(text[:offset].decode("utf-8", "replace")) + 1
        if not self.cells:
            return Place(line, column)
        first, number = self.cells[max(0, bisect_right(self.cells, (line, sys.maxsize)) - 1)]
        return Place(line - first + 1, column, number)

    def line(self, number: int) -> str:
        """A line's text, empty where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


class NotPython(Exception):
    """A text that isn't Python: what, and where if that is known."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_python(data: bytes) -> Document:
    """The document of a Python file; never raises for what stands in it."""
    lines = _LINE_END.split(_decode(data))
    try:
        return Document(parse(data), lines)
    except NotPython as error:
        empty = ast.Module(body=[], type_ignores=[])
        return Document(empty, lines, [(Place(error.line, error.column), str(error))])


def read_notebook(data: bytes) -> Document:
    """The document of a notebook; never raises for what stands in it."""
    document = Document(ast.Module(body=[], type_ignores=[]), [])
    try:
        text = data.decode("utf-8-sig")
        notebook = json.loads(text)
        cells = _code_cells(notebook)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        message = f"not a notebook: {error}"[:200] if isinstance(error, ValueError) else "nested"
        document.problems.append((Place(line, getattr(error, "colno", 1)), message))
        return document
    position = (0, 1)
    for number, source in cells:
        position = _locate(document, source, text, *position)
        _add_cell(document, number, source)
    return document


def parse(data: bytes | str) -> ast.Module:
    """A tree. Raises: NotPython, whatever is wrong with the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree = compile(data, "<file>", "exec", flags, dont_inherit=True)
            assert isinstance(tree, ast.Module)
            return tree
    except SyntaxError as error:
        raise NotPython(error.msg or "not Python", error.lineno or 1, error.offset or 1) from None
    except (RecursionError, MemoryError):
        raise NotPython("nested too deeply for Python's parser") from None
    except (ValueError, LookupError, OverflowError) as error:  # NUL bytes, an unknown encoding
        raise NotPython(str(error)) from None


def _decode(data: bytes) -> str:
    """The text; what its encoding can't decode is replaced."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding, "replace")
    except (SyntaxError, LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _code_cells(notebook: Any) -> list[tuple[int, str]]:
    """(number, text) of the code cells, counted as the notebook shows them, all cells from 1."""
    if not isinstance(notebook, dict):
        raise ValueError("its JSON isn't an object")
    cells = notebook.get("cells")
    if cells is None:  # nbformat 3
        sheets = notebook.get("worksheets") or []
        if not isinstance(sheets, list) or not all(isinstance(each, dict) for each in sheets):
            raise ValueError('its "worksheets" aren\'t a list of objects')
        cells = [cell for sheet in sheets for cell in sheet.get("cells") or ()]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError('its "cells" aren\'t a list of objects')
    if _language_of(notebook) not in ("python", ""):
        return []
    return [
        (number, _text_of(cell))
        for number, cell in enumerate(cells, 1)
        if cell.get("cell_type") == "code"
    ]


def _language_of(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name.lower() if isinstance(name, str) else ""


def _text_of(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _locate(
    document: Document, source: str, text: str, position: int, file_line: int
) -> tuple[int, int]:
    """Note which line of the JSON text each line of a cell is; position and line of the last."""
    for number, line in enumerate(_LINE_END.split(source), len(document.lines) + 1):
        for encoded in (json.dumps(line, ensure_ascii=False)[:-1], json.dumps(line)[:-1]):
            found = text.find(encoded, position) if line else -1
            if found >= 0:
                file_line += text.count("\n", position, found)
                document.file_lines[number] = file_line
                position = found
                break
    return position, file_line


def _add_cell(document: Document, number: int, source: str) -> None:
    """Append a cell's lines and statements to the document."""
    lines = _LINE_END.split(source)
    before = len(document.lines)
    document.cells.append((before + 1, number))
    document.lines += lines
    if lines[0].lstrip().startswith("%%"):
        if not _PYTHON_CELL.match(lines[0]):
            return
        lines[0] = ""
    try:
        try:
            tree = parse("\n".join(lines))
        except NotPython:
            tree = parse("\n".join(_MAGIC.sub(r"\1\3pass", line) for line in lines))
    except NotPython as error:
        place = Place(error.line, error.column, number)
        document.problems.append((place, str(error)))
        return
    for statement in tree.body:
        ast.increment_lineno(statement, before)
        document.tree.body.append(statement)
