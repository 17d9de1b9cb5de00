"""Where PostgreSQL and the console are: by the option, or by the variable of that meaning."""

from __future__ import annotations

import click
import pytest

from pgmux.cli.where import find_console, server_parameters

SECRET = "host=db user=app password=hush"


def test_a_variable_may_hold_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGMUX_POSTGRES", SECRET)
    assert server_parameters(SECRET)["password"] == "hush"
    monkeypatch.setenv("PGMUX_CONSOLE", SECRET)
    assert find_console(SECRET, None).parameters["password"] == "hush"


def test_what_is_typed_may_not_also_where_there_is_such_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGMUX_POSTGRES", "host=db user=app")
    with pytest.raises(click.UsageError, match="--postgres: a password on a command line") as no:
        server_parameters(SECRET)
    assert "hush" not in str(no.value)
    monkeypatch.setenv("PGMUX_CONSOLE", "host=db user=app")
    with pytest.raises(click.UsageError, match="--console: a password on a command line"):
        find_console(SECRET, None)
