"""`pgmux console`'s command line, as far as it goes without a pooler."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from pgmux.cli.console import command, without_database
from pgmux.ops.console.hints import find_hint


@pytest.mark.parametrize(
    "arguments",
    [
        ["--watch", "1"],
        ["--watch", "0", "SHOW POOLS"],
        ["--json", "--csv", "SHOW POOLS"],
        ["-p", "0"],
        ["--config", "/no/such/file.ini"],
        ["-d", "postgresql://user:secret%zz@host"],
        ["postgresql://user:secret@host/pgbouncer", "-c", "SHOW POOLS"],
        ["-h", "\udcff", "SHOW POOLS"],
        ["-d", "postgresql://\udcff/", "SHOW POOLS"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_why(arguments: list[str]) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert "Usage:" in done.output
    assert "secret" not in done.output


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("FATAL:  not allowed", "admin_users"),
        ("fe_sendauth: no password supplied", "PGPASSWORD"),
        ('FATAL:  database "pgbouncer" does not exist', "listen_port"),
        ("No such file or directory", "Is the pooler running"),
        ("Permission denied", "unix_socket_mode"),
        ("something new", ""),
    ],
)
def test_a_failed_connection_has_a_hint_where_one_is_known(message: str, hint: str) -> None:
    assert hint in find_hint(message)
    assert bool(find_hint(message)) == bool(hint)


@pytest.mark.parametrize(
    ("arguments", "statements"),
    [
        (("pgbouncer",), ()),
        (("pgbouncer", "SHOW POOLS"), ("SHOW POOLS",)),
        (("SHOW POOLS", "pgbouncer"), ("SHOW POOLS", "pgbouncer")),
        ((), ()),
    ],
)
def test_the_database_that_psql_wants_in_front_may_stand_there(
    arguments: tuple[str, ...], statements: tuple[str, ...]
) -> None:
    assert without_database(arguments) == statements


def test_one_command_imports_no_line_editor() -> None:
    code = "import sys, pgmux.cli.console; print('prompt_toolkit' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
