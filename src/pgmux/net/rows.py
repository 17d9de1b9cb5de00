"""A connection as a row of SHOW CLIENTS or SHOW SERVERS, whatever stage it is in.

Points in time are kept on the monotonic clock and shown on the wall clock, in the local zone, as
PgBouncer shows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pgmux.auth.tls_info import TlsInfo
from pgmux.metrics.snapshot import ConnectionRow
from pgmux.session.identity import Ends

NO_USER, NO_DATABASE, NO_ADDRESS = "(nouser)", "(nodb)", "(bad-af)"


def wall_time(age: float) -> str:
    """When that was, `age` seconds ago, as SHOW prints it: in the local zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time.time() - age))


def connection_row(
    clock: Callable[[], float],
    type_: str,
    id_: int,
    ends: Ends | None,
    *,
    user: str,
    database: str,
    state: str,
    connect_time: float,
    request_time: float,
    tls: TlsInfo | None = None,
    remote_pid: int = 0,
    wait: float = 0.0,
    close_needed: bool = False,
    link: int | None = None,
    application_name: str = "",
    prepared_statements: int = 0,
    replication: str = "none",
) -> ConnectionRow:
    """The row; `ends` is None where the connection isn't made yet."""
    now = clock()
    return ConnectionRow(
        type=type_,
        user=user or NO_USER,
        database=database or NO_DATABASE,
        replication=replication,
        state=state,
        addr=NO_ADDRESS if ends is None else ends.peer.host,
        port=0 if ends is None else ends.peer.port,
        local_addr=NO_ADDRESS if ends is None else ends.local.host,
        local_port=0 if ends is None else ends.local.port,
        connect_time=wall_time(now - connect_time),
        request_time=wall_time(now - request_time),
        wait=wait,
        close_needed=close_needed,
        ptr=id_,
        link=link,
        remote_pid=remote_pid,
        tls="" if tls is None else str(tls),
        application_name=application_name,
        prepared_statements=prepared_statements,
        id=id_,
    )
