"""docs/troubleshooting.md by symptom: what its headings quote, and the commands that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fixtures.documents import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"

_HEADING = re.compile(r"^### (.+)$", re.MULTILINE)
_QUOTED = re.compile(r"`([^`]+)`")
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RULE = re.compile(r"-[-+ ]*")


@dataclass(frozen=True)
class Shown:
    """A command, and the lines that the page shows as its output."""

    command: str
    output: list[str]


@dataclass(frozen=True)
class Symptom:
    """A section: `title` is its heading as it stands, `messages` what that quotes."""

    title: str
    text: str

    @property
    def messages(self) -> list[str]:
        return _QUOTED.findall(self.title)

    def shown(self) -> Iterator[Shown]:
        """The commands of its ```console blocks, behind `$ `."""
        for block in _CONSOLE.findall(self.text):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *output = part.splitlines()
                yield Shown(command, [line for line in output if line.strip()])


def symptoms() -> list[Symptom]:
    """All of the page, in its order."""
    text = PAGE.read_text(encoding="utf-8")
    found = list(_HEADING.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    return [Symptom(each[1], text[each.end() : end]) for each, end in zip(found, ends, strict=True)]


def occurs(message: str, text: str) -> bool:
    """Whether a text says it; `…` in the message is anything."""
    return re.search(".*?".join(map(re.escape, message.split("…"))), text, re.DOTALL) is not None


def is_like(shown: str, line: str) -> bool:
    """The same but for numbers, for blanks, and for what the page leaves out as `…`."""
    words = [re.sub(r"\d+", r"\\d+", re.escape(word)) for word in shown.split()]
    pattern = r"\s+".join(words).replace("…", ".*")
    return re.fullmatch(pattern, line.strip()) is not None


def rows(lines: list[str]) -> list[dict[str, str]]:
    """What psql and the console print, by column; none where it is no table."""
    if len(lines) < 2 or not _RULE.fullmatch(lines[1].strip()):
        return []
    names = [name.strip() for name in lines[0].split("|")]
    cells = ([cell.strip() for cell in line.split("|")] for line in lines[2:])
    return [dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)]
