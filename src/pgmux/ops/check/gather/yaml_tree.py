"""A YAML text as texts, lists and tables with their lines, bounded: for compose files.

Scalars stay the text that is written (`60s`, `5432:5432`, `1_000`), tags make nothing, so no
object of anybody's is made. Aliases are followed, and count each time: a text whose aliases
multiply is refused. `<<` merges. Errors: NotRead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from pgmux.ops.check.gather.reading import NotRead

MOST_VALUES = 50_000
MOST_DEPTH = 60
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar; null is ""."""

    line: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    line: int
    items: tuple[Tree, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    line: int
    entries: dict[str, Tree] = field(default_factory=dict)

    def get(self, *path: str) -> Tree | None:
        """What is at the end of these keys, None where there is nothing."""
        found: Tree | None = self
        for key in path:
            found = found.entries.get(key) if isinstance(found, Table) else None
        return found

    def text(self, *path: str) -> str:
        """The scalar there; "" where there is none."""
        found = self.get(*path)
        return found.text if isinstance(found, Text) else ""

    def table(self, *path: str) -> Table:
        """The table there; an empty one where there is none."""
        found = self.get(*path)
        return found if isinstance(found, Table) else Table(self.line)


Tree = Text | Items | Table


def read_yaml(text: str) -> Table:
    """The text's one document, a table. Raises: NotRead, with the line."""
    try:
        root = yaml.compose(text.encode("utf-8", "replace").decode("utf-8"), yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise NotRead(f"no YAML: line {line}: {error.problem or error.context}") from error
    except RecursionError as error:
        raise NotRead("nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise NotRead("no YAML") from error
    if not isinstance(root, yaml.MappingNode):
        raise NotRead("no YAML table")
    found = _Reader().read(root, 0)
    assert isinstance(found, Table)
    return found


class _Reader:
    def __init__(self) -> None:
        self._left = MOST_VALUES

    def read(self, node: yaml.Node, depth: int) -> Tree:
        self._left -= 1
        line = node.start_mark.line + 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise NotRead(f"line {line}: its aliases make more than {MOST_VALUES:,} values of it")
        if isinstance(node, yaml.ScalarNode):
            return Text(line, "" if node.tag == _NULL else node.value)
        if isinstance(node, yaml.SequenceNode):
            return Items(line, tuple(self.read(each, depth + 1) for each in node.value))
        return Table(line, dict(self._entries(node, depth)))

    def _entries(self, node: yaml.Node, depth: int) -> Iterator[tuple[str, Tree]]:
        """What is merged first, so that the table's own keys win."""
        pairs = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        for key, value in pairs:
            if key.tag == _MERGE or key.value == "<<":
                found = self.read(value, depth + 1)
                tables = found.items[::-1] if isinstance(found, Items) else (found,)
                for table in tables:
                    yield from table.entries.items() if isinstance(table, Table) else ()
        for key, value in pairs:
            if key.value != "<<":
                yield key.value, self.read(value, depth + 1)
