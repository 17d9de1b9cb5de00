"""SHOW CONFIG against the rows of PgBouncer 1.25.2, and the console's SET."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgmux.config import Config, apply_set, default_text, load_config, show_config, show_value
from pgmux.config.params import PGMUX_SETTINGS, SETTINGS
from pgmux.errors import PoolerError
from tests.unit.config.helpers import load

PGBOUNCER = Path(__file__).with_name("pgbouncer")
NEWER = {"login_notify_message", "pool_idle_timeout"}  # than the PgBouncer that was asked


@pytest.mark.parametrize("name", ["defaults", "odd_values"])
def test_every_row_is_pgbouncer_s(name: str) -> None:
    config = load_config(f"{name}.ini", lambda path: (PGBOUNCER / path).read_text())
    recorded = json.loads((PGBOUNCER / f"show_config_{name}.json").read_text())
    rows = [list(row) for row in show_config(config) if row[0] in SETTINGS and row[0] not in NEWER]
    assert rows == recorded


def test_newer_settings_stand_where_pgbouncer_has_them() -> None:
    names = [row[0] for row in show_config(Config())]
    assert names[names.index("pool_mode") + 1] == "pool_idle_timeout"
    assert names[names.index("logfile") + 1] == "login_notify_message"


def test_pgmuxs_own_settings_stand_behind_pgbouncers() -> None:
    rows = show_config(load("[pgbouncer]\n", pgmux="[pgmux]\nloop = uvloop\n"))
    own = {row[0]: row[1:] for row in rows[len(SETTINGS) :]}
    assert list(own) == list(PGMUX_SETTINGS)
    assert own["loop"] == ("uvloop", "epoll", "no")
    assert own["startup_parameters"][0] == PGMUX_SETTINGS["startup_parameters"].default


def test_set_changes_a_setting_of_pgmuxs_own() -> None:
    config = apply_set(Config(), "startup_parameters", "statement_timeout, lock_timeout")
    assert config.pgmux.startup_parameters == ("statement_timeout", "lock_timeout")
    assert config.settings == Config().settings
    rows = {row[0]: row[1] for row in show_config(config)}
    assert rows["startup_parameters"] == "statement_timeout,lock_timeout"


def test_a_default_is_shown_as_pgbouncer_writes_it() -> None:
    assert default_text("unix_socket_mode") == "0777"
    assert default_text("auth_user") is None
    assert default_text("admin_users") == ""


def test_set_changes_one_setting_and_leaves_the_old_configuration_alone() -> None:
    old = load("[pgbouncer]\n")
    new = apply_set(old, "query_timeout", "2.5")
    assert (old.settings.query_timeout, new.settings.query_timeout) == (0, 2.5)
    assert show_value("query_timeout", new.settings) == "2.5"


def test_set_shows_lists_as_written_and_flags_as_numbers() -> None:
    config = apply_set(Config(), "admin_users", "a, b")
    config = apply_set(config, "log_connections", "0x7")
    assert config.settings.admin_users == ("a", "b")
    assert show_value("admin_users", config.settings) == "a, b"
    assert show_value("log_connections", config.settings) == "7"
    config = apply_set(config, "admin_users", "c")
    assert show_value("admin_users", config.settings) == "c"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "query_timout",
            "1",
            'SET failed: unknown parameter: pgbouncer/query_timout (did you mean "query_timeout"?)',
        ),
        ("loop", "uvloop", "SET failed: parameter loop can only be changed by a restart"),
        (
            "log_formt",
            "json",
            'SET failed: unknown parameter: pgbouncer/log_formt (did you mean "log_format"?)',
        ),
        (
            "log_format",
            "xml",
            'SET failed: invalid value "xml" for parameter log_format'
            " (one of these is expected: text, json)",
        ),
        ("listen_port", "1", "SET failed: parameter listen_port can only be changed by a restart"),
        (
            "verbose",
            "q",
            'SET failed: invalid value "q" for parameter verbose (an integer is expected)',
        ),
        (
            "auth_dbname",
            "pgbouncer",
            'SET failed: invalid value "pgbouncer" for parameter auth_dbname'
            ' (cannot use the reserved "pgbouncer" database as an auth_dbname)',
        ),
    ],
)
def test_set_names_what_it_cannot_change_and_the_session_goes_on(
    name: str, text: str, message: str
) -> None:
    with pytest.raises(PoolerError) as caught:
        apply_set(Config(), name, text)
    assert (caught.value.message, caught.value.fatal) == (message, False)
