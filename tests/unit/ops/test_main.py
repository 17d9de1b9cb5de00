"""What every command of `pgmux` does alike."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from pgmux.cli.main import commands


@pytest.mark.parametrize("end", [KeyboardInterrupt, click.Abort])
def test_ctrl_c_ends_any_command_with_130_and_no_traceback(
    end: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("check")
    def command() -> None:
        raise end

    monkeypatch.setattr(commands, "get_command", lambda *_: command)
    done = CliRunner().invoke(commands, ["check"])
    assert (done.exit_code, done.output) == (130, "")
