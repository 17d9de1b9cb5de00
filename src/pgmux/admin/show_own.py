"""What the console can SHOW that PgBouncer can't: who does what, and how long it takes.

Times are in µs, counts and times numeric, as in SHOW STATS; docs/console.md has each column's
meaning. What is another's text (an application's name) is printable, and bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from pgmux.admin.columns import times, usec, whole
from pgmux.admin.table import Table, TableColumn, attributes
from pgmux.admin.values import Type

TEXT, INT4, NUMERIC = Type.TEXT, Type.INT4, Type.NUMERIC

OWN_TABLES: Mapping[str, Table] = {
    "apps": Table(
        (
            *attributes(TEXT, "database user application_name"),
            *attributes(INT4, "cl_active cl_waiting sv_active sv_idle_in_xact"),
            *attributes(NUMERIC, "xact_count query_count"),
            TableColumn("bytes_received", NUMERIC, attrgetter("client_bytes")),
            TableColumn("bytes_sent", NUMERIC, attrgetter("server_bytes")),
            *times("wait_time server_time idle_xact_time wait_caused_time"),
            *times("max_xact_time open_xact_time"),
            *attributes(NUMERIC, "error_count"),
        ),
        lambda pooler: pooler.snapshot.apps(),
    ),
    "connects": Table(
        (*attributes(TEXT, "database side event reason"), *attributes(NUMERIC, "count")),
        lambda pooler: pooler.snapshot.connects(),
    ),
    "errors": Table(
        (
            *attributes(TEXT, "database source sqlstate error"),
            *attributes(NUMERIC, "count"),
            *attributes(TEXT, "last_time"),
        ),
        lambda pooler: pooler.snapshot.errors(),
    ),
    "histograms": Table(
        (
            *attributes(TEXT, "database user histogram"),
            *attributes(NUMERIC, "count"),
            TableColumn("sum", NUMERIC, usec("sum")),
            *attributes(NUMERIC, "p50 p90 p99 max"),
            *attributes(TEXT, "buckets"),
        ),
        lambda pooler: pooler.snapshot.histograms(),
    ),
    "waiters": Table(
        (
            *attributes(TEXT, "database user role application_name addr"),
            *attributes(INT4, "port"),
            *attributes(TEXT, "state since"),
            *times("duration"),
            *attributes(INT4, "client_id server_pid"),
        ),
        lambda pooler: pooler.snapshot.waiters(),
    ),
    "hosts": Table(
        (
            *attributes(TEXT, "host"),
            *attributes(INT4, "port max_connections reserved_connections server_connections"),
            *attributes(TEXT, "asked_time"),
        ),
        lambda pooler: pooler.snapshot.hosts(),
    ),
    "readiness": Table(
        (*attributes(TEXT, "check name"), whole("ready"), *attributes(TEXT, "reason")),
        lambda pooler: pooler.snapshot.readiness(),
    ),
    "web": Table(
        (
            *attributes(INT4, "pid"),
            *attributes(TEXT, "state address"),
            *attributes(NUMERIC, "starts"),
            *attributes(TEXT, "last_end"),
        ),
        lambda pooler: pooler.snapshot.web(),
    ),
}
