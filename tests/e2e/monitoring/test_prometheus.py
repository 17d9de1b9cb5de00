"""A real Prometheus scrapes a pooler under load, by the configuration and rules of
deploy/prometheus; every query of the dashboards of deploy/grafana is asked of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy import create_engine

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux_apps.sqlalchemy import setup_sqlalchemy_pool_metrics
from pgmux_apps.sqlalchemy.counts import Counts
from pgmux_apps.sqlalchemy.pools import find_measurement
from tests.fixtures import dashboards
from tests.fixtures.dashboards import Target
from tests.fixtures.load import Application, running_load
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.prometheus import HOST, Prometheus, Sample
from tests.fixtures.tools import require_tool
from tests.fixtures.waiting import wait_until
from tests.fixtures.web import WebProcess

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy/prometheus"
RULES = sorted(DEPLOY.glob("*-rules.yml"))
INTERVAL = "400ms"

# More clients than servers, one that is idle in transaction, one whose statements fail.
APPLICATIONS = (
    Application("web", 3, "SELECT pg_sleep(0.01)", away=0.01),
    Application("batch", 1, idle_in_xact=0.03),
    Application("importer", 1, "SELECT 1 / 0", away=0.1),
)

_PROMQL = re.search(
    r"^```promql\n(.*?)```",
    (ROOT / "docs/monitoring.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)
DOCUMENTED = [line for line in _PROMQL[1].splitlines() if line[:1] != "#"] if _PROMQL else []

DASHBOARDS = {each["uid"]: each for each in map(dashboards.load, dashboards.FILES)}
TARGETS = [target for each in DASHBOARDS.values() for target in dashboards.targets(each)]

# What dashboards in the wild ask for: grafana.com's 14022 and the mixin. The exporter has renamed
# the counters once.
COMMUNITY_GAUGES = {
    "pgbouncer_": (
        "up version_info databases users pools free_clients used_clients login_clients "
        "free_servers used_servers cached_dns_names cached_dns_zones in_flight_dns_queries "
        "client_connections"
    ),
    "pgbouncer_config_": "max_client_connections max_user_connections",
    "pgbouncer_databases_": (
        "pool_size reserve_pool max_connections current_connections paused disabled"
    ),
    "pgbouncer_pools_client_": (
        "active_connections waiting_connections active_cancel_connections "
        "waiting_cancel_connections maxwait_seconds"
    ),
    "pgbouncer_pools_server_": (
        "active_connections idle_connections used_connections testing_connections "
        "login_connections active_cancel_connections being_canceled_connections"
    ),
}
COMMUNITY_COUNTERS = (
    "queries_pooled_total",
    "queries_duration_seconds_total",
    "received_bytes_total",
    "sent_bytes_total",
    "client_wait_seconds_total",
    "sql_transactions_pooled_total",
    "server_in_transaction_seconds_total",
    "client_parses_total",
    "server_parses_total",
    "binds_total",
    "server_assignments_total",
)
MIXIN_QUERIES = [
    "sum by (job, instance) (pgbouncer_pools_client_waiting_connections)",
    "1000 * increase(pgbouncer_stats_queries_duration_seconds_total[10s])"
    " / clamp_min(increase(pgbouncer_stats_queries_pooled_total[10s]), 1)",
    "1000 * increase(pgbouncer_stats_server_in_transaction_seconds_total[10s])"
    " / clamp_min(increase(pgbouncer_stats_sql_transactions_pooled_total[10s]), 1)",
    'increase(pgbouncer_errors_count{errmsg!="server conn crashed?"}[10s])',
]


@dataclass
class Monitored:
    """A pooler under load, and the Prometheus that scrapes it."""

    prometheus: Prometheus
    counts: Counts  # of the application's pool

    def ask(self, expr: str) -> list[Sample]:
        """The query's result, as soon as there is one."""
        return wait_until(lambda: self.prometheus.query(expr))


@pytest.fixture(scope="module")
def monitored(
    module_pooler: MakePooler, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monitored]:
    web = f"{HOST}:{find_free_port()}"
    pooler = module_pooler(
        databases={
            "shop": "dbname=postgres pool_size=1 reserve_pool_size=1 max_db_connections=8",
            "full": "dbname=postgres pool_size=1",
            "calm": "dbname=postgres",
        },
        settings={"max_client_conn": 50, "max_user_connections": 40},
        pgmux={"http_listen": web},
    )
    with ExitStack() as stack:
        registry = CollectorRegistry()
        api, counts = serve_sqlalchemy(pooler, registry, stack)
        log = tmp_path_factory.mktemp("web") / "log"
        targets = {"pgmux": web, "api": api, "pgbouncer": serve_pgbouncer(postgres, log, stack)}
        prometheus = Prometheus(configuration(targets), RULES)
        stack.enter_context(prometheus)
        stack.enter_context(running_load(pooler.dsn("shop"), APPLICATIONS))
        stack.enter_context(stuck_clients(pooler))
        stack.enter_context(stuck_thread(pooler, registry))
        come_and_go(pooler)
        wait_until(lambda: len(prometheus.query("up == 1")) == len(targets), timeout=20)
        yield Monitored(prometheus, counts)


def configuration(targets: dict[str, str]) -> dict[str, Any]:
    """The example's, with this test's targets by job, and haste."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    del config["alerting"]
    (example,) = config["scrape_configs"]
    assert example["job_name"] in targets
    config["scrape_configs"] = [
        example
        | {
            "job_name": job,
            "scrape_timeout": INTERVAL,
            "static_configs": [{"targets": [target]}],
        }
        for job, target in targets.items()
    ]
    config["rule_files"] = [path.name for path in RULES]
    return config


def serve_pgbouncer(postgres: EmbeddedPostgres, log: Path, stack: ExitStack) -> str:
    """A PgBouncer that a client has used, and its web process, whose address is returned."""
    pooler = stack.enter_context(
        PoolerProcess(
            port=find_free_port(),
            databases={
                "old": f"host={postgres.host} port={postgres.port} dbname=postgres "
                "max_db_connections=8"
            },
            users={postgres.superuser: postgres.password},
            settings={"auth_type": "trust", "stats_users": postgres.superuser},
            command=(str(require_tool("pgbouncer")),),
        )
    )
    where = {"host": pooler.host, "port": pooler.port, "user": postgres.superuser}
    client = stack.enter_context(closing(psycopg.connect(dbname="old", **where)))
    client.execute("SELECT 1")
    console = psycopg.conninfo.make_conninfo(dbname="pgbouncer", **where)
    web = stack.enter_context(WebProcess("--console", console, log=log))
    return f"{HOST}:{web.port}"


def serve_sqlalchemy(
    pooler: Pooler, registry: CollectorRegistry, stack: ExitStack
) -> tuple[str, Counts]:
    """An application with 2 of 5 + 10 connections checked out. Its address, and what is counted of
    its pool.
    """
    engine = create_engine(sqlalchemy_url(pooler))
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    stack.callback(engine.dispose)
    for connection in [stack.enter_context(engine.connect()) for _ in range(5)][2:]:
        connection.close()
    measurement = find_measurement(engine.pool)
    assert measurement is not None
    port = find_free_port()
    server, thread = start_http_server(port, addr=HOST, registry=registry)
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return f"{HOST}:{port}", measurement.named.counts


def sqlalchemy_url(pooler: Pooler) -> str:
    return pooler.dsn("calm").replace("postgresql:", "postgresql+psycopg:", 1)


@contextmanager
def stuck_thread(pooler: Pooler, registry: CollectorRegistry) -> Iterator[None]:
    """The application has a second pool, of one connection, for which a thread waits."""
    engine = create_engine(sqlalchemy_url(pooler), pool_size=1, max_overflow=0, pool_timeout=600)
    setup_sqlalchemy_pool_metrics(engine, "full", registry=registry)
    with engine.connect():
        thread = Thread(target=lambda: engine.connect().close())
        thread.start()
        yield
    thread.join()
    engine.dispose()


def come_and_go(pooler: Pooler) -> None:
    """A client that leaves an idle server, by which the pooler asks for PostgreSQL's limits, and
    one that is refused.
    """
    with psycopg.connect(pooler.dsn("calm")) as client:
        client.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="no such database"):
        psycopg.connect(pooler.dsn("nowhere"))


def stuck_clients(pooler: Pooler) -> ExitStack:
    """One keeps the only server of `full`, the other waits for it."""
    stack = ExitStack()

    def connect(database: str, application: str) -> psycopg.Connection:
        dsn = pooler.dsn(database, application_name=application)
        return stack.enter_context(closing(psycopg.connect(dsn, autocommit=True)))

    connect("full", "report").execute("BEGIN")
    waiting = connect("full", "web")
    waiting.pgconn.send_query(b"SELECT 1")
    return stack


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_query_of_a_dashboard_has_data(monitored: Monitored, target: Target) -> None:
    assert monitored.ask(target.expr)


@pytest.mark.parametrize("target", [each for each in TARGETS if "pgbouncer_" in each.expr], ids=str)
def test_of_a_pgbouncer_every_query_of_what_it_has_has_data(
    monitored: Monitored, target: Target
) -> None:
    (up,) = monitored.ask('up{job="pgbouncer"}')
    instance = up.labels["instance"]
    assert monitored.ask(target.expr.replace('instance=~".*"', f'instance="{instance}"'))


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_the_variables_of_a_dashboard_offer_values(monitored: Monitored, uid: str) -> None:
    for variable in dashboards.variables(DASHBOARDS[uid]):
        if variable["type"] == "query":
            query = dashboards.fill(variable["query"]["query"], DASHBOARDS[uid])
            match, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()  # type: ignore[union-attr]
            assert monitored.prometheus.label_values(label, match), query


def test_2_of_15_connections_are_13_percent(monitored: Monitored) -> None:
    """Not 100, as by size + overflow, where SQLAlchemy's overflow begins at -size."""
    (target,) = (each for each in TARGETS if each.panel == "SQLAlchemy Pool Utilization")
    values = {each.labels["pool_name"]: each.value for each in monitored.ask(target.expr)}
    assert round(values["default"], 2) == 13.33


def test_a_tenth_of_slow_checkouts_shows_in_the_99th_percentile(
    monitored: Monitored,
) -> None:
    (target,) = (
        each for each in TARGETS if each.panel == "Connection Checkout Duration" and each.ref == "C"
    )
    monitored.ask("sqlalchemy_pool_checkout_duration_seconds_bucket")
    for seconds in (*[0.001] * 90, *[0.3] * 10):
        monitored.counts.add_checkout(seconds)
    (sample,) = wait_until(
        lambda: [
            each
            for each in monitored.ask(target.expr)
            if each.labels["pool_name"] == "default" and each.value > 0.1
        ]
    )
    assert 0.25 < sample.value <= 0.5, "the bucket of 0.3 s"


def test_a_pool_is_measured_by_its_size_and_its_reserve(monitored: Monitored) -> None:
    (limit,) = monitored.ask('database:pgbouncer_pool_limit:max{database="shop"}')
    assert limit.value == 2
    (busy,) = monitored.ask('pool:pgbouncer_utilization:ratio{database="full"}')
    assert busy.value == 1
    assert monitored.ask('user:pgbouncer_max_user_connections:ratio{user="postgres"} < 1')


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_ask_for_metrics_that_there_are(monitored: Monitored, path: Path) -> None:
    groups = yaml.safe_load(path.read_text())["groups"]
    exprs = [re.sub('"[^"]*"', "", rule["expr"]) for group in groups for rule in group["rules"]]
    named = {
        name for expr in exprs for name in re.findall(r"(?<!:)\b(?:pg|sqlalchemy)[a-z]*_\w+", expr)
    }
    assert len(named) > 3
    assert named - set(monitored.prometheus.label_values("__name__")) == set()


def test_every_rule_is_evaluated_without_an_error(monitored: Monitored) -> None:
    def rules() -> list[dict[str, Any]]:
        return monitored.prometheus.rules()

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}


def test_a_client_that_waits_is_on_its_way_to_an_alert(monitored: Monitored) -> None:
    alert = 'ALERTS{alertname="PgmuxClientsWaiting", database="full"}'
    (sample,) = monitored.ask(alert)
    assert sample.labels["alertstate"] == "pending"
    assert sample.labels["severity"] == "warning"


def test_a_thread_that_waits_for_an_applications_pool_is_too(monitored: Monitored) -> None:
    (sample,) = monitored.ask('ALERTS{alertname="SqlalchemyWaiters"}')
    assert sample.labels["pool_name"] == "full"
    (sample,) = monitored.ask('ALERTS{alertname="SqlalchemyPoolUtilization", severity="critical"}')
    assert sample.labels["pool_name"] == "full"


def test_dashboards_of_the_exporter_find_their_gauges(monitored: Monitored) -> None:
    wanted = {prefix + name for prefix, names in COMMUNITY_GAUGES.items() for name in names.split()}
    assert wanted - set(monitored.prometheus.label_values("__name__")) == set()


@pytest.mark.parametrize("prefix", ["pgbouncer_stats_", "pgbouncer_stats_totals_"])
@pytest.mark.parametrize("counter", COMMUNITY_COUNTERS)
def test_dashboards_of_either_age_find_their_counters(
    monitored: Monitored, prefix: str, counter: str
) -> None:
    assert monitored.ask(f'rate({prefix}{counter}{{database="shop"}}[10s])')


@pytest.mark.parametrize("query", MIXIN_QUERIES)
def test_the_queries_of_known_dashboards_and_alerts_have_data(
    monitored: Monitored, query: str
) -> None:
    assert monitored.ask(query)


@pytest.mark.parametrize("query", DOCUMENTED)
def test_the_queries_of_the_documentation_have_data(monitored: Monitored, query: str) -> None:
    assert monitored.ask(query)


def test_the_documentation_has_queries() -> None:
    assert len(DOCUMENTED) > 3
