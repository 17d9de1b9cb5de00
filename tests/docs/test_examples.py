"""The documents' examples run, and what the documents point to is there.

What is run, and how a document says so: tests/fixtures/documents.py. A block finds, beside the
document's files, the pooler's configuration in /etc/pgbouncer, and in its environment DATABASE_URL,
PG* and POSTGRES_* of user app and database app through the pooler, and DIRECT_DATABASE_URL past it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.config import load_config
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.documents import (
    DOCUMENTS,
    ROOT,
    Block,
    blocks_of,
    command_of,
    environment,
    name_of,
    run,
    write_files,
)

_INI = re.compile(r"^```ini\n(.*?)```", re.DOTALL | re.MULTILINE)
_HBA = re.compile(r"^```\n(# TYPE .*?)```", re.DOTALL | re.MULTILINE)
_IDENT = re.compile(r"^```\n(# MAP .*?)```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_SOURCE_FILE = re.compile(
    r"`((?:wire|config|auth|pool|session|admin|metrics|net|daemon|ops|cli)/\w+\.py)`"
)

EXAMPLES = [block for path in DOCUMENTS for block in blocks_of(path) if block.output is not None]


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    """What the examples suppose: user app may use database app and the console."""
    postgres.psql("CREATE ROLE app LOGIN PASSWORD 'secret'")
    postgres.psql("CREATE DATABASE app OWNER app")
    with PoolerProcess(
        port=find_free_port(),
        databases={"app": f"host={postgres.host} port={postgres.port}"},
        users={"app": "secret"},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": "app",
            "pool_mode": "transaction",
        },
    ) as process:
        yield process
    postgres.psql("DROP DATABASE app WITH (FORCE)")
    postgres.psql("DROP ROLE app")


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_of_the_documents_does_what_they_say(
    example: Block, postgres: EmbeddedPostgres, pooler: PoolerProcess, tmp_path: Path
) -> None:
    shim_dir = tmp_path / "bin"
    shim_dir.mkdir()
    places = {
        "/etc/pgbouncer": str(pooler.directory),
        "/opt/pgmux/bin": str(shim_dir),
        "/tmp": str(tmp_path),
        "6432": str(pooler.port),
    }
    write_files(example.document, tmp_path, places)
    path = [Path(sys.executable).parent, postgres.tool("psql").parent, os.environ["PATH"]]
    env = environment(f"postgresql://app:secret@{pooler.host}:{pooler.port}/app")
    env["DIRECT_DATABASE_URL"] = f"postgresql://app:secret@{postgres.host}:{postgres.port}/app"
    env["PATH"] = os.pathsep.join(map(str, path))
    done = run(command_of(example, tmp_path, places), tmp_path, env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert example.output is not None and example.output in done.stdout, done.stdout + done.stderr


def test_a_program_of_the_documents_is_written_as_pgmux_is(tmp_path: Path) -> None:
    blocks = [block for path in DOCUMENTS for block in blocks_of(path)]
    for number, block in enumerate(each for each in blocks if each.language == "python"):
        (tmp_path / f"{number}.py").write_text(f"# {block}\n{block.code}")
    for what in (("check", "--output-format=concise"), ("format", "--diff")):
        command = (sys.executable, "-m", "ruff", *what, "--config", ROOT / "pyproject.toml")
        done = run([*map(str, command), str(tmp_path)], tmp_path, os.environ)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_document_marks_is_found_and_nothing_else(tmp_path: Path) -> None:
    marked = (
        "```sh\nnot run\n```\n"
        "<!-- run: 2 -->\n```python\nprint(2)\n```\n"
        "<!-- file: app.py -->\n<!-- run: 3 -->\n```python\nprint(3)\n```\n"
        "<!-- file: app.ini -->\n```ini\n[app]\n```\n"
    )
    document = tmp_path / "x.md"
    document.write_text(marked)
    assert [(b.language, b.code, b.output, b.file) for b in blocks_of(document)] == [
        ("python", "print(2)\n", "2", None),
        ("python", "print(3)\n", "3", "app.py"),
        ("ini", "[app]\n", None, "app.ini"),
    ]


def test_the_documents_have_examples() -> None:
    assert {"README.md", "docs/migrate-from-pgbouncer.md"} <= {each.document for each in EXAMPLES}


@pytest.mark.parametrize("page", sorted((ROOT / "docs/apps").glob("*.md")), ids=name_of)
def test_every_page_for_applications_has_a_program_that_is_run(page: Path) -> None:
    assert page.name == "README.md" or blocks_of(page)


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


def test_every_decision_says_what_was_rejected_and_what_it_costs() -> None:
    headings = ("Question", "Decision", "Why", "Rejected", "Price")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(decisions) >= 4
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert [each for each in headings if f"**{each}.**" not in text] == []
