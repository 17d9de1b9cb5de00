"""`make screenshots`: the dashboard's pictures in docs/images, of a pooler with a load.

Takes a minute and a half, so that the charts have something to show. Needs chromium.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from playwright.sync_api import Browser, sync_playwright

from pgmux.ops.installation import give_to
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port

IMAGES = Path(__file__).parent
SECONDS = 90.0
TOKEN = "not a secret: the pooler lives as long as the script"
SHOTS = (
    ("dashboard.png", {"width": 1280, "height": 1430}, "light"),
    ("dashboard-dark.png", {"width": 1280, "height": 1430}, "dark"),
    ("dashboard-phone.png", {"width": 390, "height": 1300}, "light"),
)
SCHEMA = "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)"

Connection = psycopg.Connection[tuple[object, ...]]


class ShownPooler(PoolerProcess):
    """pgmux with a web process at `web_port`."""

    web_port = find_free_port()

    def write_configuration(self) -> None:
        super().write_configuration()
        token, ini = self.directory / "token", self.directory / "pgmux.ini"
        token.write_text(TOKEN)
        token.chmod(0o600)
        listen = f"127.0.0.1:{self.web_port}"
        ini.write_text(f"[pgmux]\nhttp_listen = {listen}\nhttp_token_file = {token}\n")
        for path in (token, ini):
            give_to(self._account, path)


@dataclass(frozen=True, slots=True)
class Application:
    """So many clients of a database, each with a turn and then a pause of `think` seconds."""

    name: str
    database: str
    clients: int
    turn: Callable[[Connection], None]
    think: float


def short(connection: Connection) -> None:
    connection.execute("SELECT pg_sleep(random() * 0.03)")


def medium(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_sleep(random() * 0.05)")
        connection.execute("SELECT count(*) FROM pg_class")


def idle_in_transaction(connection: Connection) -> None:
    """As a worker that calls another service between two statements."""
    with connection.transaction():
        connection.execute("SELECT count(*) FROM pg_class")
        time.sleep(random.uniform(0.2, 0.9))
        connection.execute("SELECT 1")


def report(connection: Connection) -> None:
    connection.execute("SELECT pg_sleep(random() * 3)")


def twice(connection: Connection) -> None:
    with suppress(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO orders VALUES (1)")


APPLICATIONS = (
    Application("checkout", "shop", 14, short, 0.06),
    Application("celery-worker", "shop", 4, idle_in_transaction, 0.6),
    Application("search-api", "shop", 4, short, 0.1),
    Application("order-import", "shop", 1, twice, 2.0),
    Application("invoices", "billing", 6, medium, 0.2),
    Application("metabase", "reports", 3, report, 2.0),
    Application("airflow-scheduler", "airflow", 3, medium, 0.5),
)


def run_client(pooler: PoolerProcess, application: Application, is_over: threading.Event) -> None:
    """Until it is over."""
    with psycopg.connect(
        host=pooler.host,
        port=pooler.port,
        user="app",
        password="app",
        dbname=application.database,
        application_name=application.name,
        autocommit=True,
    ) as connection:
        while not is_over.is_set():
            application.turn(connection)
            time.sleep(random.uniform(0, 2 * application.think))


def take(browser: Browser, url: str) -> None:
    """The pictures, after some time of which the charts tell."""
    pages = []
    for _, size, scheme in SHOTS:
        context = browser.new_context(viewport=size, color_scheme=scheme)
        page = context.new_page()
        page.goto(url)
        pages.append(page)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        pages[0].wait_for_timeout(1000)
    pages[0].locator("#waiters tbody tr").nth(3).wait_for()  # a queue, and who holds the servers
    for page, (name, _, _) in zip(pages, SHOTS, strict=True):
        page.screenshot(path=IMAGES / name)
        print(IMAGES / name, (IMAGES / name).stat().st_size)


def main() -> None:
    chromium = shutil.which("chromium") or sys.exit("chromium is missing: `make ci-deps`")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    is_over = threading.Event()
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(max_connections=60))
        postgres.psql("CREATE ROLE app LOGIN PASSWORD 'app' SUPERUSER")
        databases = sorted({application.database for application in APPLICATIONS})
        for database in databases:
            postgres.psql(f"CREATE DATABASE {database}")
        postgres.psql(SCHEMA, "shop")
        where = f"host={postgres.host} port={postgres.port}"
        pooler = ShownPooler(
            port=find_free_port(),
            databases=dict.fromkeys(databases, where),
            users={"app": "app"},
            settings={
                "auth_type": "scram-sha-256",
                "pool_mode": "transaction",
                "default_pool_size": 6,
            },
        )
        stack.enter_context(pooler)
        for application in APPLICATIONS:
            for _ in range(application.clients):
                client = threading.Thread(target=run_client, args=(pooler, application, is_over))
                client.start()
                stack.callback(client.join)
        stack.callback(is_over.set)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        stack.callback(browser.close)
        take(browser, f"http://127.0.0.1:{pooler.web_port}/")


if __name__ == "__main__":
    main()
