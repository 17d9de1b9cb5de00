"""PG."""

from __future__ import annotations

from pgmux.ops.check.facts.server import Override, Setting
from tests.unit.ops.check.cases.case import Case
from tests.unit.ops.check.cases.live import INI, connected, console, evidence, server

NEVER = Setting("0", "ms")

CASES = {
    "PG001": Case(
        bad=evidence(server(settings={"idle_in_transaction_session_timeout": NEVER})),
        good=evidence(
            server(settings={"idle_in_transaction_session_timeout": NEVER}),
            ini=f"{INI}idle_transaction_timeout = 60\n",
        ),
        says=("idle_in_transaction_session_timeout = 0",),
    ),
    "PG002": Case(
        bad=evidence(
            server(
                settings={"statement_timeout": NEVER},
                overrides=[Override("shop", "other", "statement_timeout", "30s")],
            )
        ),
        good=evidence(
            server(
                settings={"statement_timeout": NEVER},
                overrides=[Override("", "app", "statement_timeout", "30s")],
            )
        ),
        says=("statement_timeout = 0",),
    ),
    "PG003": Case(
        bad=evidence(server(settings={"tcp_keepalives_idle": Setting("7200", "s")})),
        good=evidence(
            server(settings={"tcp_keepalives_idle": Setting("7200", "s")}, is_by_socket=True)
        ),
        says=("7200 s",),
    ),
    "PG004": Case(
        bad=evidence(server(settings={"work_mem": Setting("65536", "kB")})),
        good=evidence(
            server(settings={"work_mem": Setting("65536", "kB")}, memory=16 << 30),
        ),
        says=("64 MiB × max_connections 100 = 6,400 MiB, against 4,096 MiB",),
    ),
    "PG005": Case(
        bad=evidence(server([connected()], max_connections=5000), console=console()),
        good=evidence(server([connected()], max_connections=200), console=console()),
        says=("pools 20 + past the pooler 1 + reserved 3 = 24",),
    ),
    "PG006": Case(
        bad=evidence(server(settings={"idle_session_timeout": Setting("60000", "ms")})),
        good=evidence(
            server(
                settings={"idle_session_timeout": Setting("60000", "ms")},
                overrides=[Override("", "app", "idle_session_timeout", "0")],
            )
        ),
        says=("60 s",),
    ),
}
