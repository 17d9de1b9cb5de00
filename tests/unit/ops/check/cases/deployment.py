"""DEPL: how the pooler is started, stopped and reached."""

from __future__ import annotations

from tests.unit.ops.check.cases.case import Case, config_of
from tests.unit.ops.check.cases.local import POOLED, POOLER, compose, evidence, service, told

CONFIG = config_of(POOLED)
ALIVE = config_of(POOLED + "tcp_keepidle = 60\n")
LOCAL = config_of(POOLED.replace("host=db", "host=localhost"))
IMAGE, MOUNT = "edoburu/pgbouncer:1.25.2", "volumes: ['.:/etc/pgbouncer']"
OVERLAY = compose(
    service("pgbouncer", IMAGE, MOUNT, "networks: [far]"),
    besides="networks:\n  far: {driver: overlay}\n",
)

CASES = {
    "DEPL001": Case(
        bad=evidence(CONFIG, compose=compose(POOLER)),
        good=evidence(CONFIG, compose=compose(POOLER + "    stop_signal: SIGINT\n")),
        says=("waits for all clients", "compose.yaml:3", "SIGINT"),
    ),
    "DEPL002": Case(
        bad=evidence(
            CONFIG,
            compose=compose(service("pgbouncer", IMAGE, MOUNT, "ports: ['127.0.0.1:6432:5432']"))
            + service("app", "shop", "environment: {URL: 'postgres://a@pgbouncer:5432/a'}"),
        ),
        good=evidence(
            CONFIG,
            compose=compose(service("pgbouncer", IMAGE, MOUNT, "ports: ['127.0.0.1:5432:6432']"))
            + service("app", "shop", "environment: {URL: 'postgres://a@pgbouncer:6432/a'}"),
        ),
        count=2,
        says=("publishes its port 5432", "listens on 6432", "URL of app leads to pgbouncer:5432"),
    ),
    "DEPL003": Case(
        bad=evidence(CONFIG, compose=OVERLAY),
        good=evidence(ALIVE, compose=OVERLAY),
        says=("overlay", "tcp_keepidle = 0"),
    ),
    "DEPL004": Case(
        bad=evidence(LOCAL, compose=compose(POOLER, service("postgres", "postgres:16"))),
        good=evidence(CONFIG, compose=compose(POOLER, service("db", "postgres:16"))),
        says=("host=localhost", "host=postgres"),
    ),
    "DEPL005": Case(
        bad=evidence(CONFIG, compose=told("DATABASE_URL: postgres://app@db/shop")),
        good=evidence(CONFIG, compose=told("DATABASE_DIRECT_URL: postgres://app@db/shop")),
        says=("DATABASE_URL of app", "db:5432"),
    ),
}
