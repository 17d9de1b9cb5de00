"""The documents' examples run, and what the documents point to is there.

A block of shell commands behind `<!-- run: TEXT -->` has to end with exit code 0 and to print TEXT.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgmux.config import load_config
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "src").glob("**/*.py")))

_EXAMPLE = re.compile(r"<!-- run: (.+?) -->\n```sh\n(.*?)```", re.DOTALL)
_INI = re.compile(r"^```ini\n(.*?)```", re.DOTALL | re.MULTILINE)
_HBA = re.compile(r"^```\n(# TYPE .*?)```", re.DOTALL | re.MULTILINE)
_IDENT = re.compile(r"^```\n(# MAP .*?)```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_SOURCE_FILE = re.compile(
    r"`((?:wire|config|auth|pool|session|admin|metrics|net|daemon|ops|cli)/\w+\.py)`"
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Example:
    document: str
    output: str
    commands: str


EXAMPLES = [
    Example(name_of(path), *groups)
    for path in DOCUMENTS
    for groups in _EXAMPLE.findall(path.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """What the examples suppose: user app may use database app and the console."""
    with PoolerProcess(
        port=find_free_port(),
        databases={"app": f"host={postgres.host} port={postgres.port} dbname=postgres"},
        users={"app": "secret"},
        settings={"auth_type": "scram-sha-256", "admin_users": "app"},
    ) as process:
        yield process


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.document)
def test_an_example_of_the_documents_does_what_they_say(
    example: Example, postgres: EmbeddedPostgres, pooler: PoolerProcess, tmp_path: Path
) -> None:
    shim_dir = tmp_path / "bin"
    shim_dir.mkdir()
    places = {
        "/etc/pgbouncer": str(pooler.directory),
        "/opt/pgmux/bin": str(shim_dir),
        "/tmp": str(tmp_path),
        "6432": str(pooler.port),
    }
    commands = re.sub("|".join(places), lambda found: places[found[0]], example.commands)
    path = [Path(sys.executable).parent, postgres.tool("psql").parent, os.environ["PATH"]]
    done = subprocess.run(
        ["sh", "-e", "-c", commands],
        env={**os.environ, "PATH": os.pathsep.join(map(str, path)), "PGPASSWORD": "secret"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert example.output in done.stdout


def test_the_documents_have_examples() -> None:
    assert {"README.md", "docs/migrate-from-pgbouncer.md"} <= {each.document for each in EXAMPLES}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_document_links_to_exists(document: Path) -> None:
    targets = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [each for each in targets if not (document.parent / each).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_whole_configuration_in_a_document_is_one_that_pgmux_takes(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    hba = "".join(_HBA.findall(text)).replace("@blocked", "blocked")
    others = {"userlist.txt": "", "hba.conf": hba, "ident.conf": "".join(_IDENT.findall(text))}
    for block in _INI.findall(text):
        if "[pgbouncer]" in block:
            files = {"pgbouncer.ini": block, **others}
            config = load_config("pgbouncer.ini", lambda path, f=files: f[Path(path).name])
            assert [str(warning) for warning in config.warnings] == []
            assert len(config.hba) == (hba.count("\n") - 1 if "auth_hba_file" in block else 0)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_source_files_that_a_document_names_exist(document: Path) -> None:
    named = _SOURCE_FILE.findall(document.read_text(encoding="utf-8"))
    roots = (ROOT, ROOT / "src" / "pgmux")
    assert [each for each in named if not any((root / each).exists() for root in roots)] == []


def test_messages_that_troubleshooting_explains_are_in_the_source() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    parts = [part for message in messages for part in message.split("…")]
    assert len(messages) > 5
    assert [part for part in parts if part.strip('" ') and part not in SOURCES] == []


def test_every_decision_says_what_was_rejected_and_what_it_costs() -> None:
    headings = ("Question", "Decision", "Why", "Rejected", "Price")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(decisions) >= 4
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert [each for each in headings if f"**{each}.**" not in text] == []
