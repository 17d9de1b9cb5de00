"""What a RELOAD has to do."""

from __future__ import annotations

import pytest

from pgmux.config import diff_config, show_value
from pgmux.errors import ConfigError
from tests.unit.config.helpers import load

MAIN = "[pgbouncer]\n"


def test_the_same_files_ask_for_nothing() -> None:
    text = MAIN + "auth_file=u\n[databases]\nd = host=x user=y\n* =\n[peers]\n1 = host=x\n"
    old = load(text, u='"a" "b"')
    reload = diff_config(old, load(text, u='"a" "b"'))
    assert reload.config == old
    assert not any(getattr(reload, name) for name in reload.__slots__ if name != "config")


def test_settings_that_need_a_restart_keep_their_value_and_are_named() -> None:
    old = load(MAIN + "listen_addr=a, b\nquery_timeout=1\n", pgmux="[pgmux]\nloop=asyncio\n")
    new = load(MAIN + "listen_addr=c\nlisten_port=1\nverbose=2\n", pgmux="[pgmux]\n")
    reload = diff_config(old, new)
    assert reload.settings == ("query_timeout", "verbose")
    assert reload.needs_restart == ("listen_addr", "listen_port", "loop")
    assert reload.config.settings.listen_port == 6432
    assert show_value("listen_addr", reload.config.settings) == "a, b"
    assert reload.config.pgmux.loop == "asyncio"
    assert (reload.config.settings.query_timeout, reload.config.settings.verbose) == (0, 2)


def test_databases_that_come_and_go_are_named() -> None:
    old = load(MAIN + "[databases]\na =\nb =\nc =\n")
    reload = diff_config(old, load(MAIN + "[databases]\nd =\nb =\ne =\n"))
    assert reload.databases_added == ("d", "e")
    assert reload.databases_removed == ("a", "c")
    assert reload.databases_dirty == ()


@pytest.mark.parametrize(
    ("key", "is_dirty"),
    [
        ("dbname=x", True),
        ("host=x", True),
        ("port=1", True),
        ("user=x", True),
        ("connect_query=x", True),
        ("auth_dbname=x", True),
        ("auth_query=x", True),
        ("load_balance_hosts=disable", True),
        ("pool_size=1", False),
        ("pool_mode=session", False),
        ("server_lifetime=1", False),
        ("auth_user=x", False),
    ],
)
def test_servers_are_closed_for_the_keys_that_pgbouncer_closes_them_for(
    key: str, is_dirty: bool
) -> None:
    reload = diff_config(
        load(MAIN + "[databases]\nd =\n* =\n"), load(MAIN + f"[databases]\nd = {key}\n* = {key}\n")
    )
    assert reload.databases_dirty == (("d",) if is_dirty else ())
    assert reload.autodb_dirty is is_dirty


def test_a_star_entry_that_is_gone_closes_what_came_from_it() -> None:
    assert diff_config(load(MAIN + "[databases]\n* =\n"), load(MAIN)).autodb_dirty
    assert not diff_config(load(MAIN), load(MAIN + "[databases]\n* =\n")).autodb_dirty


def test_a_forced_user_that_is_gone_is_kept_and_said() -> None:
    old = load(MAIN + "[databases]\nd = user=u password=p\n* = user=v\n")
    reload = diff_config(old, load(MAIN + "[databases]\nd =\n* =\n"))
    assert reload.config.databases["d"] == old.databases["d"]
    assert reload.config.autodb == old.autodb
    assert (reload.databases_dirty, reload.autodb_dirty) == ((), False)
    assert [str(problem) for problem in reload.config.warnings] == [
        "losing forced user not supported, keeping old setting (database d)",
        "losing forced user not supported, keeping old setting (database *)",
    ]


def test_users_whose_secret_changed_came_or_went_are_named() -> None:
    text = MAIN + "auth_file=u"
    old = load(text, u='"a" "1"\n"b" "1"\n"c" "1"')
    reload = diff_config(old, load(text, u='"a" "1"\n"b" "2"\n"d" "1"'))
    assert reload.users_changed == ("b", "c", "d")


def test_peers_that_changed_are_named() -> None:
    old = load(MAIN + "[peers]\n1 = host=x\n2 = host=x\n")
    assert diff_config(old, load(MAIN + "[peers]\n1 = host=y\n2 = host=x\n")).peers_changed == (1,)


def test_an_auth_file_that_broke_since_refuses_the_reload() -> None:
    text = MAIN + "auth_file=u"
    good, bad = load(text, u='"a" "1"'), load(text, u='"a" "1"\n"b')
    with pytest.raises(ConfigError, match="u:2: broken auth file"):
        diff_config(good, bad)
    assert diff_config(bad, bad).config == bad
    with pytest.raises(ConfigError, match="could not open auth_file"):
        diff_config(good, load(text))
