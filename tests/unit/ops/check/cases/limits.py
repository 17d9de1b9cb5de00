"""SIZE, where PostgreSQL was asked."""

from __future__ import annotations

from pgmux.ops.check.facts.server import RoleFacts, Setting
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

MINUTE = {"idle_in_transaction_session_timeout": Setting("60000", "ms")}

CASES = {
    "SIZE001": Case(
        bad=evidence(
            server(
                [connected("web", connections=20), connected("app", is_pooler=True, connections=9)]
            ),
            console=console([pool(user=name) for name in ("app", "report", "job", "etl")]),
        ),
        good=evidence(
            server([connected("web", connections=20)]),
            console=console([pool(user=name) for name in ("app", "report")]),
        ),
        says=(
            "   100  max_connections",
            "−      3  reserved for superusers",
            "−     20  connected now, past the pooler",
            "20  web as app",
            "=     77  left for the pools",
            "    80  all pools",
            "20  shop of etl: 20",
        ),
    ),
    "SIZE006": Case(
        bad=evidence(server(settings=MINUTE, asked_roles=frozenset(("airflow",)))),
        good=evidence(server()),
        says=("60 s", "airflow looks like"),
    ),
    "SIZE009": Case(
        bad=evidence(
            server(roles=[RoleFacts("app", connection_limit=10)], limits={"shop": 15}),
            console=console(),
        ),
        good=evidence(
            server(roles=[RoleFacts("app", connection_limit=50)], limits={"other": 1}),
            console=console(databases=[database(max_connections=15)]),
            ini=INI,
        ),
        count=2,
        says=("role app: CONNECTION LIMIT 10, pools 20", "database shop: CONNECTION LIMIT 15"),
    ),
}
