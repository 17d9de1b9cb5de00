"""Pictures of what a scripted console answers."""

from __future__ import annotations

import asyncio

from pgmux.ops.top.watch import Picture, Watch
from tests.fixtures.scripted_console import NEW, Row, ScriptedConsole, table

Answers = dict[str, list[Row]]

CLIENTS = table(
    """
    type user database state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name
    C web app active 10.0.0.1 40001 10.0.0.9 6432 10:00 10:01 0 0 0 0x1 0x9 0 '' worker
    C web app waiting 10.0.0.1 40002 10.0.0.9 6432 10:00 10:01 2 250000 0 0x2 '' 0 '' web
    C web other active 10.0.0.1 40003 10.0.0.9 6432 10:00 10:01 0 0 0 0x3 '' 0 '' elsewhere
    """
)
SERVERS = table(
    """
    type user database state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name
    S web app idle 10.0.0.5 5432 10.0.0.9 50001 10:00 10:01 0 0 0 0x8 '' 4710 '' ''
    S web app active 10.0.0.5 5432 10.0.0.9 50000 10:00 10:01 0 0 0 0x9 0x1 4711 '' worker
    """
)


def changed(answers: Answers, name: str, number: int = 0, **values: object) -> Answers:
    """The answers, with other values in one row of a table."""
    rows = list(answers[name])
    rows[number] = rows[number] | {key: str(value) for key, value in values.items()}
    return answers | {name: rows}


def take_picture(*answers: Answers) -> Picture:
    """Of samples two seconds apart, one by one."""

    async def take() -> Picture:
        console = ScriptedConsole(NEW)
        watch = Watch(console)
        for number, each in enumerate(answers):
            console.answers = each
            await watch.take(100.0 + 2 * number)
        assert watch.picture is not None, watch.failure
        return watch.picture

    return asyncio.run(take())
