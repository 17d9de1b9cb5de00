"""`pgmux top`'s command line, as far as it goes without a pooler."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from pgmux.cli.top import command, require_textual


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no terminal: --once prints a table, --json everything"),
        (["--once", "--interval", "0"], "--interval"),
        (["--once", "--table", "nothing"], "pools"),
        (["--once", "--config", "/no/such/file.ini"], "cannot read /no/such/file.ini"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_why(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(click.ClickException) as caught:
        require_textual()
    assert "textual: pip install 'pgmux[top]' (--once and --json" in str(caught.value)
