"""What commands of the console bring about in a pooler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgmux.config.model import Database
from pgmux.daemon.admin import DaemonAdmin
from pgmux.errors import PoolerError
from tests.unit.session.rig import Rig, linked, with_databases


def make_admin(rig: Rig) -> tuple[DaemonAdmin, list[str]]:
    """An admin, and the names of what it has had done to the process."""
    done: list[str] = []
    log = SimpleNamespace(
        path="",
        use_file=lambda path: done.append(f"use_file {path}"),
        configure=lambda settings, pgmux: done.append(f"configure {pgmux.log_format}"),
        warning=lambda text: done.append(f"warning {text}"),
    )
    app: Any = SimpleNamespace(
        pooler=rig.pooler,
        log=log,
        tune_sockets=lambda: done.append("tune_sockets"),
        set_up_tls=lambda: done.append("set_up_tls"),
    )
    return DaemonAdmin(app), done


def test_kill_of_everything_pauses_each_database_and_not_the_pooler() -> None:
    rig = Rig(with_databases(Database("app", "app"), Database("unused", "unused")))
    client, server = linked(rig)
    admin, _ = make_admin(rig)
    admin.kill(None)
    assert client.is_closed and server.is_closed
    assert admin.is_database_paused("app") and not admin.is_paused
    assert not admin.is_database_paused("unused")  # nobody has used it: as with PgBouncer


def test_set_reaches_the_log_the_sockets_and_the_pooler() -> None:
    rig = Rig()
    admin, done = make_admin(rig)
    admin.set("log_format", "json")
    admin.set("tcp_keepidle", "77")
    assert done == ["configure json", "tune_sockets"] * 2
    assert rig.pooler.config.settings.tcp_keepidle == 77
    assert admin.config is rig.pooler.config


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_tls_ciphers", "HIGH"),
        ("client_tls_sslmode", "require"),
        ("client_tls13_ciphers", ""),
    ],
)
def test_set_of_a_tls_setting_sets_tls_up_anew_or_says_that_it_did_not(
    setting: str, value: str
) -> None:
    admin, done = make_admin(Rig())
    kept = "TLS settings could not be applied, still using old configuration"
    assert admin.set(setting, value) == kept
    assert done[-1] == "set_up_tls"


@pytest.mark.parametrize(
    ("setting", "value", "warning"),
    [
        ("max_client_conn", "0", "max_client_conn = 0: nobody but the console's users is let in"),
        ("syslog_facility", "NIX", "syslog_facility = NIX: it is taken for daemon"),
    ],
)
def test_a_set_is_warned_of_as_the_file_would_be(setting: str, value: str, warning: str) -> None:
    admin, done = make_admin(Rig())
    admin.set(setting, value)
    assert done[1].startswith(f"warning SET: {warning}")


@pytest.mark.parametrize("setting", ["nothing", "listen_port", "loop"])
def test_a_set_that_fails_changes_nothing(setting: str) -> None:
    rig = Rig()
    admin, done = make_admin(rig)
    before = rig.pooler.config
    with pytest.raises(PoolerError, match="SET failed: "):
        admin.set(setting, "1")
    assert rig.pooler.config is before and done == []
