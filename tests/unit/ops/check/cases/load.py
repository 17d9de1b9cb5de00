"""POOL."""

from __future__ import annotations

from pgmux.monitor.tables import Seconds
from pgmux.ops.check.facts.console import ClientGroup
from tests.unit.ops.check.cases.case import Case
from tests.unit.ops.check.cases.live import (
    INI,
    connected,
    console,
    database,
    evidence,
    pool,
    server,
)

CASES = {
    "POOL001": Case(
        bad=evidence(
            console=console([pool(cl_waiting=7, sv_idle=0, sv_active=20, maxwait=Seconds(3.25))])
        ),
        good=evidence(console=console([pool(cl_waiting=7)])),
        says=("cl_waiting 7, the first for 3.2 s", "active 20", "pool_size 20", "shop of app"),
    ),
    "POOL002": Case(
        bad=evidence(
            server([connected("airflow", "air", 60)]),
            console=console(clients=[ClientGroup("shop", "app", "web", 55)]),
        ),
        good=evidence(
            server([connected("airflow", "air", 9)]),
            console=console(clients=[ClientGroup("shop", "app", "web", 9)]),
        ),
        count=2,
        says=("55 of max_client_conn 100: web as app", "60 of PostgreSQL's 97", "airflow as air"),
    ),
    "POOL003": Case(
        bad=evidence(console=console(clients=[ClientGroup("shop", "app", "web", 85)])),
        good=evidence(console=console(clients=[ClientGroup("shop", "app", "web", 70)])),
        says=("85 clients of max_client_conn 100",),
    ),
    "POOL004": Case(
        bad=evidence(console=console(databases=[database(paused=True), database(disabled=True)])),
        good=evidence(console=console()),
        count=2,
        says=('RESUME "shop"', 'ENABLE "shop"'),
    ),
    "POOL005": Case(
        bad=evidence(
            console=console(
                databases=[database(host="old")],
                settings={"default_pool_size": "20", "server_lifetime": "3600"},
            ),
            ini=f"{INI}default_pool_size = 40\nserver_lifetime = 3600.0\n",
        ),
        good=evidence(
            console=console(settings={"default_pool_size": "40", "max_client_conn": "7"}),
            ini=f"{INI}default_pool_size = 40\n",
        ),
        says=("runs with 20, the file says 40", "leads to old:5432"),
    ),
    "POOL006": Case(
        bad=evidence(
            server([connected(idle_in_transaction=2, longest_idle_in_transaction=900.0)]),
        ),
        good=evidence(server([connected(longest_idle_in_transaction=20.0)])),
        says=("2 idle in transaction, the longest for 900 s: web as app in shop",),
    ),
}
