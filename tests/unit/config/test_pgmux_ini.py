"""pgmux.ini, laid over pgbouncer.ini."""

from __future__ import annotations

import pytest

from pgmux.config import load_config
from pgmux.errors import ConfigError
from tests.unit.config.helpers import load, problems_of, reader

MAIN = "[pgbouncer]\nauth_file=u\n[databases]\ncrm = host=x pool_size=3\n* =\n[users]\nweb =\n"
USERS = '"bob" "x"'


def test_its_settings_have_defaults() -> None:
    config = load(MAIN, u=USERS)
    assert config.pgmux.loop == "epoll"
    assert "search_path" in config.startup_parameters(config.databases["crm"])


def test_settings_and_database_keys_are_laid_over() -> None:
    config = load(
        MAIN,
        u=USERS,
        pgmux="[pgmux]\nloop = asyncio\nstartup_parameters = a, b\n"
        "[databases]\ncrm = startup_parameters='c, d'\n* = startup_parameters=e\n[users]\nweb=\n",
    )
    crm, other = config.databases["crm"], config.find_database("other")
    assert config.pgmux.loop == "asyncio"
    assert config.pgmux.startup_parameters == ("a", "b")
    assert config.startup_parameters(crm) == ("c", "d")
    assert crm.pool_size == 3
    assert other is not None and config.startup_parameters(other) == ("e",)
    assert config.files == ("a.ini", "u", "pgmux.ini")


def test_a_database_without_the_key_has_the_setting() -> None:
    config = load(MAIN, u=USERS, pgmux="[pgmux]\nstartup_parameters =\n")
    assert config.startup_parameters(config.databases["crm"]) == ()


def test_everything_unknown_is_refused_with_the_nearest_name() -> None:
    text = """[pgmux]
lop = asyncio
loop = twisted
[databases]
crn = startup_parameters=a
crm = startup_parameter=a
crm = pool_size=3
[users]
bobb =
bob = pool_size=3
[pgbouncer]
verbose = 1
"""
    assert problems_of(MAIN, u=USERS, pgmux=text) == [
        'pgmux.ini:2: unknown parameter: pgmux/lop (did you mean "loop"?)',
        'pgmux.ini:3: invalid value "twisted" for parameter loop in configuration (pgmux.ini:3)'
        " (one of these is expected: epoll, uvloop, asyncio)",
        'pgmux.ini:5: unknown database: crn (did you mean "crm"?)',
        "pgmux.ini:6: unrecognized database parameter: startup_parameter"
        ' (did you mean "startup_parameters"?)',
        "pgmux.ini:7: unrecognized database parameter: pool_size",
        'pgmux.ini:9: unknown user: bobb (did you mean "bob"?)',
        "pgmux.ini:10: unrecognized user parameter: pool_size",
        'pgmux.ini:11: invalid section "pgbouncer" in configuration (pgmux.ini:11)',
    ]


def test_problems_of_both_files_are_told_together() -> None:
    assert problems_of(MAIN + "[pgbouncer]\nx=1", u=USERS, pgmux="[pgmux]\ny=1") == [
        "a.ini:9: unknown parameter: pgbouncer/x",
        "pgmux.ini:2: unknown parameter: pgmux/y",
    ]


def test_an_entry_that_is_wrong_in_pgbouncer_ini_is_known_all_the_same() -> None:
    found = problems_of(MAIN + "[databases]\nd = x", u=USERS, pgmux="[databases]\nd = ")
    assert found == ["a.ini:9: syntax error in connection string (key=value is expected)"]


def test_a_missing_pgmux_ini_is_a_problem_where_one_is_asked_for() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("a.ini", reader({"a.ini": MAIN, "u": USERS}), "gone.ini")
    assert str(caught.value) == (
        'gone.ini: could not load file "gone.ini": No such file or directory'
    )


def test_an_include_that_is_missing_is_reported_in_pgmux_ini() -> None:
    found = problems_of(MAIN, u=USERS, pgmux="%include gone.ini")
    assert found == ['pgmux.ini:1: could not load file "gone.ini": No such file or directory']
