"""The dashboard in a real browser, of real poolers with a real load."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Page, expect

from pgmux.ops.pooler import PoolerProcess, is_listening
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.browser import TIMEOUT, OpenPage
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.tools import require_pgbouncer
from tests.fixtures.waiting import wait_until
from tests.fixtures.web import HOST, RunWeb, WebProcess

TOKEN = "0123456789abcdef-the-token"
ODD = 'a"; KILL x'
SCRIPT = "<img src=x onerror=document.title='owned'>"

expect.set_options(timeout=TIMEOUT)


def url(web: WebProcess) -> str:
    return f"http://{HOST}:{web.port}/"


def row(page: Page, table: str, name: str) -> Any:
    """The row of a table whose name has that text."""
    return page.locator(f"#{table} tbody tr").filter(has=page.get_by_text(name, exact=True))


@contextmanager
def load(pooler: Pooler, application_name: str, clients: int = 1) -> Iterator[None]:
    """Clients that do transactions, of 20 ms, until the end."""
    is_over = threading.Event()

    def work() -> None:
        dsn = pooler.dsn("postgres", application_name=application_name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not is_over.is_set():
                connection.execute("SELECT pg_sleep(0.02)")

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def look(web: RunWeb, open_page: OpenPage) -> Callable[..., Page]:
    """`look(pooler, *arguments of pgmux web)`: its dashboard."""

    def look(pooler: Pooler, *arguments: str, **how: Any) -> Page:
        return open_page(url(web("--console", pooler.dsn("pgbouncer"), *arguments)), **how)

    return look


Look = Callable[..., Page]


def test_pools_and_applications_appear_while_they_work(pooler: MakePooler, look: Look) -> None:
    running = pooler(settings={"default_pool_size": 2})
    page = look(running)
    expect(page.locator("#condition")).to_have_text("ready")
    expect(page.locator("#apps-note")).to_have_text(re.compile("None yet|1"))
    with load(running, "checkout", clients=4), load(running, SCRIPT):
        pool = row(page, "pools", "postgres")
        expect(pool.locator("[data-label=Active]")).to_have_text("2")
        expect(pool.locator("[data-label=Waiting]")).to_have_text(re.compile("[1-3]"))
        expect(pool.locator(".bar")).to_have_attribute(
            "aria-label", re.compile("2 active, 0 idle of 2 servers; [1-3] clients wait")
        )
        app = row(page, "apps", "checkout")
        expect(app.locator("[data-label=Clients]")).to_have_text("4")
        expect(app.locator("[data-label='Xact/s']")).to_have_text(re.compile("[1-9]"))
        expect(row(page, "apps", SCRIPT)).to_be_visible()
        expect(page.locator("#chart-rate .u-legend")).to_contain_text(re.compile(r"s:?\s*\d"))
        expect(page.locator("#chart-wait canvas")).to_be_visible()
    assert page.title() == f"pgmux {running.host}:{running.port}"
    expect(page.locator("#actions-note")).to_contain_text("--token-file")
    expect(page.locator("#commands button")).to_have_count(0)


def test_a_pool_is_found_by_its_name_and_its_charts_by_a_press(
    pooler: MakePooler, look: Look
) -> None:
    databases = {f"tenant_{i}": "dbname=postgres" for i in range(60)}
    running = pooler(databases=databases)
    for i in (7, 42):
        psycopg.connect(running.dsn(f"tenant_{i}")).close()
    page = look(running)
    expect(page.locator("#pools tbody tr")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator("#filter").press_sequentially("_42")
    expect(page.locator("#pools tbody tr")).to_have_count(1)
    expect(page.locator("#pools-count")).to_have_text("1 of 2")
    page.get_by_role("button", name="Charts of pool tenant_42 / postgres").press("Enter")
    expect(page.locator("#charts-of")).to_have_text("pool tenant_42 / postgres")
    page.get_by_role("button", name="All pools").click()
    expect(page.locator("#charts-of")).to_have_text("all pools")


def test_a_pooler_that_goes_and_comes_back_is_followed(pooler: MakePooler, look: Look) -> None:
    running = pooler()
    page = look(running)
    expect(page.locator("#condition")).to_have_text("ready")
    running.close()
    expect(page.locator("#condition")).to_have_text("console gone")
    expect(page.get_by_role("alert")).to_contain_text("Connection refused")
    running.start()
    expect(page.locator("#condition")).to_have_text("ready")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_web_process_that_goes_and_comes_back_is_joined_again(
    pooler: MakePooler, tmp_path: Path, open_page: OpenPage
) -> None:
    running = pooler()
    web = WebProcess("--console", running.dsn("pgbouncer"), log=tmp_path / "log")
    with web:
        page = open_page(url(web))
        expect(page.locator("#freshness")).to_contain_text("live")
    expect(page.locator("#freshness")).to_contain_text("no connection, last sample")
    expect(page.locator("#condition")).to_have_text("no connection")
    with web:
        expect(page.locator("#condition")).to_have_text("ready")
        expect(page.locator("#freshness")).to_contain_text("live")


def test_pgbouncer_is_shown_with_what_it_has(
    postgres: EmbeddedPostgres, web: RunWeb, open_page: OpenPage
) -> None:
    pgbouncer = require_pgbouncer()
    with PoolerProcess(
        port=find_free_port(),
        databases={"shop": f"host={postgres.host} port={postgres.port} dbname=postgres"},
        users={"postgres": postgres.password},
        settings={"auth_type": "trust", "stats_users": "postgres"},
        command=(pgbouncer,),
    ) as running:
        conninfo = f"host={running.host} port={running.port} user=postgres"
        page = open_page(url(web("--console", conninfo)))
        with psycopg.connect(f"{conninfo} dbname=shop", autocommit=True) as connection:

            def work() -> bool:
                connection.execute("SELECT 1")
                page.wait_for_timeout(20)
                text = row(page, "pools", "shop").locator("[data-label='Xact/s']")
                return text.count() == 1 and text.inner_text() not in ("–", "0")

            wait_until(work, 15.0)
        expect(page.locator("#name")).to_have_text("PgBouncer")
        expect(page.locator("#apps-note")).to_have_text("PgBouncer tells no applications.")
        expect(page.locator("#errors-note")).to_have_text("PgBouncer counts no errors.")
        expect(page.locator("#apps")).to_be_hidden()
        expect(page.locator("#totals")).to_contain_text("Wait, mean")


# Commands


def ask(page: Page, name: str, secret: str | None, user: str | None = None) -> None:
    """Chooses a command of the menu that is open, and answers the dialog."""
    page.get_by_role("menuitem", name=name).click()
    if user is not None:
        page.get_by_label("User", exact=True).fill(user)
    if secret is not None:
        page.locator("#confirm-secret").fill(secret)
    page.locator("#confirm-do").click()


def is_paused(pooler: Pooler, database: str) -> bool:
    rows = pooler.console("SHOW DATABASES")
    return any(each["paused"] for each in rows if each["name"] == database)


def test_a_command_is_confirmed_carried_out_and_remembers_the_token(
    pooler: MakePooler, look: Look, token_file: Path
) -> None:
    running = pooler(databases={f"'{ODD}'": "dbname=postgres", "x": "dbname=postgres"})
    psycopg.connect(running.dsn(ODD)).close()
    page = look(running, "--token-file", str(token_file))
    menu = page.get_by_role("button", name=f"Commands for {ODD} / postgres")
    menu.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="RECONNECT")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()

    menu.click()
    page.get_by_role("menuitem", name="PAUSE").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Clients of database {ODD} get no server any more")
    expect(dialog.locator("code")).to_have_text('PAUSE "a""; KILL x"')
    page.get_by_role("button", name="Cancel").click()
    assert not is_paused(running, ODD)

    menu.click()
    ask(page, "PAUSE", TOKEN)
    expect(page.locator("#confirm-outcome")).to_have_text('PAUSE "a""; KILL x": done.')
    assert is_paused(running, ODD) and not is_paused(running, "x")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#condition")).to_have_text("1 paused")

    menu.click()
    ask(page, "RESUME", None)
    expect(page.locator("#confirm-outcome")).to_contain_text("done.")
    assert not is_paused(running, ODD)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#condition")).to_have_text("ready")
    kept = page.evaluate("[document.cookie, {...localStorage}, {...sessionStorage}, location.href]")
    assert TOKEN not in json.dumps(kept)
    page.reload()
    menu.click()
    page.get_by_role("menuitem", name="PAUSE").click()
    expect(page.locator("#confirm-secret")).to_be_visible()


def test_a_wrong_token_is_refused_and_then_nobody_is_listened_to(
    pooler: MakePooler, look: Look, token_file: Path
) -> None:
    running = pooler()
    page = look(running, "--token-file", str(token_file))
    page.get_by_role("button", name="Commands …").click()
    ask(page, "RELOAD", "wrong")
    outcome = page.locator("#confirm-outcome")
    for _ in range(4):
        expect(outcome).to_have_text("This token or password is not accepted.")
        expect(page.locator("#confirm-secret")).to_have_value("")
        page.locator("#confirm-secret").fill("wrong again")
        page.locator("#confirm-do").click()
        expect(outcome).not_to_have_text("…")
    page.locator("#confirm-secret").fill(TOKEN)
    page.locator("#confirm-do").click()
    expect(outcome).to_have_text("Too many failures: try again later.")


def test_a_console_users_password_is_tried_by_logging_in_with_it(
    pooler: MakePooler, look: Look
) -> None:
    users = {"boss": "p:w 'ü", "looker": "pw"}
    settings = {"auth_type": "scram-sha-256", "admin_users": "boss", "stats_users": "looker"}
    running = pooler(settings=settings, users=users)
    where = f"host={running.host} port={running.port}"
    page = look_at(look, running, "looker", "--admin-console", where)
    page.get_by_role("button", name="Commands …").click()
    ask(page, "PAUSE", "wrong", "boss")
    outcome = page.locator("#confirm-outcome")
    expect(outcome).to_have_text("This token or password is not accepted.")
    page.get_by_label("User", exact=True).fill("looker")
    page.locator("#confirm-secret").fill("pw")
    page.locator("#confirm-do").click()
    expect(outcome).to_contain_text("The console refuses: admin access needed")
    page.reload()
    page.get_by_role("button", name="Commands …").click()
    ask(page, "PAUSE", "p:w 'ü", "boss")
    expect(outcome).to_have_text("PAUSE: done.")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#condition")).to_have_text("paused")


def look_at(look: Look, pooler: Pooler, user: str, *arguments: str) -> Page:
    """As `look`, as another user than postgres."""
    console = type("Console", (), {"dsn": lambda self, db: pooler.dsn(db, user)})()
    return look(console, *arguments)


def test_a_login_that_needs_no_password_is_no_proof(pooler: MakePooler, look: Look) -> None:
    running = pooler()  # auth_type = trust
    page = look(running, "--admin-console", f"host={running.host} port={running.port}")
    page.get_by_role("button", name="Commands …").click()
    ask(page, "PAUSE", "anything", "postgres")
    expect(page.locator("#confirm-outcome")).to_have_text("This token or password is not accepted.")
    assert running.console("SHOW STATE")[1]["value"] == "no"


def test_the_poolers_own_web_process_kills_who_holds_a_server(
    pooler: MakePooler, open_page: OpenPage
) -> None:
    port = find_free_port()
    settings = {"default_pool_size": 1, "admin_users": "nobody"}
    running = pooler(settings=settings, pgmux={"http_listen": f"{HOST}:{port}"})
    running.write_file("token", TOKEN)
    (running.directory / "token").chmod(0o600)
    running.pgmux["http_token_file"] = str(running.directory / "token")
    running.write_configuration()
    running.send_signal(signal.SIGHUP)
    wait_until(lambda: is_listening(HOST, port))
    holder = psycopg.connect(running.dsn("postgres", application_name="holder"))
    backend = holder.execute("SELECT pg_backend_pid()").fetchone()
    assert backend is not None
    answers: list[Any] = []

    def wait() -> None:
        with psycopg.connect(running.dsn("postgres", application_name="waiter")) as connection:
            answers.append(connection.execute("SELECT 1").fetchone())

    waiter = threading.Thread(target=wait)
    waiter.start()
    page = open_page(f"http://{HOST}:{port}/")
    expect(row(page, "waiters", "waiter").locator(".role")).to_have_text("waits")
    held = row(page, "waiters", "holder")
    expect(held).to_contain_text("idle in transaction")
    expect(held).to_contain_text(str(backend[0]))
    held.get_by_role("button", name="Kill").click()
    expect(page.get_by_role("dialog")).to_contain_text("(holder, user postgres) is closed")
    page.locator("#confirm-secret").fill(TOKEN)
    page.locator("#confirm-do").click()
    expect(page.locator("#confirm-outcome")).to_have_text(re.compile(r"^KILL_CLIENT \d+: done\.$"))
    waiter.join()
    assert answers == [(1,)]
    expect(page.locator("#waiters-note")).to_have_text("Nobody waits.")
    with pytest.raises(psycopg.OperationalError):
        holder.execute("SELECT 1")


# How it looks


HOSTILE = [
    SCRIPT,
    "</td></table><script>document.title='owned'</script>",
    "gnp.\u202eexe\u2066\u200b",
    "\x1b[31mred\x00\r\n\x7f\x9b",
    "&lt;b&gt; &amp; \"' ${1} {{7*7}}",
    "x" * 5000,
    "__proto__",
    "constructor",
]


def hostile_stream(web: WebProcess) -> str:
    """A sample of the server, with names that would do harm if they could."""
    sample = json.loads(
        next(
            line.removeprefix("data: ")
            for line in live_lines(web)
            if line.startswith("data: ") and '"pools"' in line
        )
    )
    (pool,) = sample["pools"]["rows"]
    pools = [pool | {"database": name, "user": name, "mode": name} for name in HOSTILE]
    who = {"database": SCRIPT, "user": SCRIPT, "application_name": SCRIPT, "addr": SCRIPT}
    waiter = who | {"port": 1, "role": "waiting", "state": SCRIPT, "duration": 1_500_000}
    sample |= {
        "pools": {"rows": pools, "matching": len(pools), "all": 1000},
        "apps": {
            "rows": [
                who | {"application_name": name, "held": 1.2, "share": 0.3, "idle_share": 0.9,
                       "caused": 3, "waited": 0, "clients": 5, "xacts": 7, "open_xact": 900,
                       "max_xact": 77, "errors": 1}
                for name in HOSTILE
            ],
            "all": 8, "seconds": 60,
        },
        "waiters": {
            "rows": [waiter | {"client_id": 1, "server_pid": None},
                     waiter | {"client_id": 2, "role": "holding", "server_pid": 4711}],
            "all": 2, "waiting": 1, "holding": 1,
        },
        "errors": {
            "rows": [{"database": SCRIPT, "source": SCRIPT, "sqlstate": SCRIPT, "error": SCRIPT,
                      "count": 5, "lately": 2, "last": SCRIPT}],
            "all": 1, "lately": 2,
        },
        "hosts": {
            "rows": [{"host": SCRIPT, "port": 5432, "connections": 9, "usable": 10,
                      "max_connections": 13}],
            "all": 1,
        },
        "condition": {"text": "1 not ready", "kind": "bad", "trouble": [SCRIPT]},
        "readiness": SCRIPT, "version": SCRIPT, "place": SCRIPT, "actions": ["token", "password"],
        "interval": 1000,
    }  # fmt: skip
    columns = {name: [] for name in ("t", "xacts", "p50", "p99", "mean")}
    return (
        f"event: history\ndata: {json.dumps(columns)}\n\nevent: sample\n"
        f"data: {json.dumps(sample)}\n\n"
    )


def live_lines(web: WebProcess) -> Iterator[str]:
    """The stream, as far as somebody reads it."""
    from urllib.request import urlopen

    with urlopen(f"{url(web)}api/live", timeout=15) as stream:
        for line in stream:
            yield line.decode().rstrip("\n")


def test_hostile_names_are_text(pooler: MakePooler, web: RunWeb, open_page: OpenPage) -> None:
    running = pooler()
    psycopg.connect(running.dsn()).close()
    process = web("--console", running.dsn("pgbouncer"))
    page = open_page(url(process), stream=hostile_stream(process))
    expect(page.locator("#pools tbody tr")).to_have_count(len(HOSTILE))
    expect(page.locator("#apps tbody tr")).to_have_count(len(HOSTILE))
    shown = page.locator("#apps tbody th b").all_inner_texts()
    assert shown[0] == SCRIPT
    assert shown[2] == "gnp.\\u{202e}exe\\u{2066}\\u{200b}"
    assert shown[3] == "\\u{1b}[31mred\\u{0}\\u{d}\\u{a}\\u{7f}\\u{9b}"
    assert page.locator("main img, main script").count() == 0
    page.get_by_role("button", name="Kill client 1").click()
    expect(page.get_by_role("dialog")).to_contain_text(SCRIPT)
    assert "owned" not in page.title().replace(SCRIPT, "")


def test_of_long_lists_a_few_rows_are_shown_and_all_when_asked_for(
    pooler: MakePooler, web: RunWeb, open_page: OpenPage
) -> None:
    running = pooler()
    psycopg.connect(running.dsn()).close()
    process = web("--console", running.dsn("pgbouncer"))
    head, _, data = hostile_stream(process).rpartition("data: ")
    sample = json.loads(data)
    waiter, app = sample["waiters"]["rows"][0], sample["apps"]["rows"][0]
    sample["waiters"]["rows"] = [
        waiter | {"role": role, "client_id": each, "port": each, "database": "d", "user": "u"}
        for role in ("waiting", "holding")
        for each in range(15)
    ]
    sample["apps"]["rows"] = [app | {"application_name": f"a{each}"} for each in range(25)]
    page = open_page(url(process), stream=f"{head}data: {json.dumps(sample)}\n\n")
    waiters = page.locator("#waiters tbody tr:visible")
    expect(waiters).to_have_count(8)
    roles = page.locator("#waiters tbody tr:visible .role").all_inner_texts()
    assert roles == ["waits"] * 4 + ["holds"] * 4
    page.get_by_role("button", name="Show all 30").click()
    expect(waiters).to_have_count(30)
    expect(page.locator("#apps tbody tr:visible")).to_have_count(10)
    page.get_by_role("button", name="Show fewer").click()
    expect(waiters).to_have_count(8)


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

# The lowest contrast of any text that is shown, with the text (WCAG 2.1, 1.4.3).
CONTRAST = """() => {
  const rgb = (css) => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.textContent.slice(0, 40)];
  }
  return worst;
}"""


def test_it_can_be_read_in_both_themes_and_on_a_phone(
    pooler: MakePooler, web: RunWeb, open_page: OpenPage
) -> None:
    running = pooler()
    psycopg.connect(running.dsn()).close()
    process = web("--console", running.dsn("pgbouncer"))
    stream = hostile_stream(process)
    for scheme, other in (("light", "dark"), ("dark", "light")):
        page = open_page(url(process), stream=stream, color_scheme=scheme)
        for width in (1280, 800, 390, 320):
            page.set_viewport_size({"width": width, "height": 844})
            expect(page.locator("#apps tbody tr")).to_have_count(len(HOSTILE))
            wait_until(lambda page=page: page.evaluate(OVERFLOW) == 0)
        contrast, text = page.evaluate(CONTRAST)
        assert contrast >= 4.5, text
        page.get_by_role("button", name="Kill client 2").click()
        contrast, text = page.evaluate(CONTRAST)
        assert contrast >= 4.5, text
        page.get_by_role("button", name="Cancel").click()
        assert page.locator("html").get_attribute("data-theme") == scheme
        page.get_by_role("button", name="Light or dark").click()
        assert page.locator("html").get_attribute("data-theme") == other
