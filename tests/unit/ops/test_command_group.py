"""The group of commands: what holds for each of them, before it has begun as well."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from pgmux.cli import main
from pgmux.ops.severity import INTERRUPTED


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_ctrl_c_while_a_command_is_being_imported_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(name: str) -> None:
        raise error

    monkeypatch.setattr(main, "import_module", interrupted)
    ended = CliRunner().invoke(main.commands, ["size"])
    assert ended.exit_code == INTERRUPTED and "Aborted" not in ended.output
