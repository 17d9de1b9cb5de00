"""Runs `pgmux-airflow check` over files that a test writes."""

from __future__ import annotations

import contextlib
import io
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pgmux_apps.airflow.cli import main


@dataclass(frozen=True)
class Checked:
    """What a run answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.out)
        return answer

    @property
    def findings(self) -> list[str]:
        """`AIR001 a.py:3`, the shortest that says which finding it is."""
        return [f"{each['rule']} {each['file']}:{each['line']}" for each in self.json["findings"]]

    @property
    def messages(self) -> list[str]:
        return [each["message"] for each in self.json["findings"]]


@dataclass(frozen=True)
class Checker:
    """A DAGs folder `dags` in the working directory."""

    folder: Path

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                content = textwrap.dedent(content).encode()
            path.write_bytes(content)

    def run(self, *arguments: str) -> Checked:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(["check", *arguments])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Checked(code, out.getvalue(), err.getvalue())

    def findings(self, files: Mapping[str, str | bytes], *options: str) -> list[str]:
        """What is found in these files, without the folder's name."""
        self.write(files)
        found = self.run(str(self.folder), "--json", *options).findings
        return [each.replace(f"{self.folder}/", "") for each in found]

    def rules(self, text: str, *options: str) -> list[str]:
        """The rules of what is found in one file."""
        return [each.split()[0] for each in self.findings({"a.py": text}, *options)]


def make_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    """A checker whose configuration is nobody's: no airflow.cfg, no AIRFLOW__ variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    folder = Path("dags")
    folder.mkdir()
    return Checker(folder)
