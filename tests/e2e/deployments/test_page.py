"""docs/deployments.md: check finds in each deployment's files what the page lists, nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.documents import ROOT, write_files

PAGE = "docs/deployments.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
CHECKED = re.findall(r"^`pgmux check (\S+)`:\n\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
# What depends on where check runs: its file descriptors, firewall, versions.
OF_THE_MACHINE = {"SIZE004", "EXPO007", "PREP004"}


def found(ini: Path) -> set[str]:
    """The rules that have found something, by `pgmux check --json`."""
    command = (sys.executable, "-P", "-m", "pgmux", "check", "--json", "--no-password", str(ini))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    return {finding["rule"] for finding in report["findings"]} - OF_THE_MACHINE


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that everybody may read, as /etc and /srv are."""
    with tempfile.TemporaryDirectory(prefix="pgmux-deployments-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(("ini", "table"), CHECKED, ids=[ini for ini, _ in CHECKED])
def test_check_finds_what_the_page_says(ini: str, table: str, readable: Path) -> None:
    write_files(PAGE, readable)
    place = readable / ini
    if not (readable / ini.split("/")[0] / "compose.yaml").exists():  # not in a container
        place.write_text(place.read_text().replace("/etc/pgbouncer", str(place.parent)))
    listed = set(re.findall(r"^\| ([A-Z]+\d+) \|", table, re.MULTILINE))
    assert found(place) == listed


def test_there_are_five() -> None:
    assert len(CHECKED) == 5
