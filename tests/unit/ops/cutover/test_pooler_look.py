"""Which of a pooler's servers are at the PostgreSQL that was asked, and who is at the pooler."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from pgmux.monitor.console import Console
from pgmux.ops.cutover.look import count_apps
from pgmux.ops.cutover.names import App
from pgmux.ops.cutover.pooler_look import Server, follows_prepared, servers_at
from tests.unit.ops.cutover.connected import connected

HERE, THERE = ("10.0.0.1", 5432), ("10.0.0.2", 5432)


def test_servers_of_another_postgres_may_have_the_same_pids() -> None:
    servers = [
        *(Server(HERE, "app", pid, "shop") for pid in (1, 2, 3)),
        *(Server(THERE, "app", pid, "logs") for pid in (3, 4, 5)),
    ]
    pids, foreign = servers_at(servers, [(1, "app"), (2, "app"), (3, "app"), (4, "other")])
    assert pids == {1, 2, 3}
    assert foreign == {"logs"}


def test_servers_that_have_just_ended_do_not_make_it_another_postgres() -> None:
    servers = [Server(HERE, "app", pid, "shop") for pid in (1, 2, 3)]
    assert servers_at(servers, [(1, "app"), (3, "app")]) == ({1, 3}, set())
    assert servers_at(servers, []) == (set(), {"shop"})
    assert servers_at([], []) == (set(), set())


def test_the_same_application_is_counted_on_both_sides() -> None:
    groups = [
        connected("web", connections=3, address="10.0.0.7"),
        connected("web", connections=2, address=None),
        connected("web", connections=9, is_pooler=True),
        connected("cron", connections=1, is_superuser=True),
    ]
    clients = [(App("web", "app", "shop"), 4, 1), (App("api", "app", "shop"), 2, 0)]
    counts = count_apps(groups, clients)
    assert [(each.application, each.direct, each.pooled, each.waiting) for each in counts] == [
        ("web", 5, 4, 1),
        ("cron", 1, 0, 0),
        ("api", 0, 2, 0),
    ]
    assert counts[0].addresses == ("10.0.0.7", "local")
    assert counts[1].is_superuser


@pytest.mark.parametrize(("value", "follows"), [(None, False), ("0", False), ("200", True)])
def test_a_pooler_without_the_setting_tracks_no_prepared_statements(
    value: str | None, follows: bool
) -> None:
    console = AsyncMock(spec=Console)
    settings = {"pool_mode": "transaction", "max_prepared_statements": value}
    console.query.return_value = [
        {"key": key, "value": told} for key, told in settings.items() if told is not None
    ]
    assert asyncio.run(follows_prepared(console)) is follows
