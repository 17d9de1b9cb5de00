"""What to move first, who stays and why, and where to: from what was observed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pgmux.ops.cutover.names import App, Exceptions
from pgmux.ops.cutover.plan.gather import AppObserved, Observed
from pgmux.ops.cutover.plan.judge import Item, Plan, judge
from pgmux.ops.cutover.plan.report import json_of, print_plan, to_markdown
from pgmux.ops.cutover.plan.signs import Kind, Replica, Sign, Step
from pgmux.ops.cutover.plan.target import Target
from pgmux.ops.printing import terminal
from tests.unit.ops.check.cases.case import config_of

INI = """
[databases]
shop = host=db1 dbname=shop
store = host=db1 dbname=warehouse user=keeper
elsewhere = host=db2 dbname=other
[pgbouncer]
listen_addr = 10.0.0.5
auth_type = scram-sha-256
auth_user = asker
default_pool_size = 20
reserve_pool_size = 5
"""
NOBODY = Exceptions()


def app(name: str, peak: int = 5, database: str = "shop", **more: Any) -> AppObserved:
    values = {
        "addresses": ("10.0.0.7",),
        "is_superuser": False,
        "normally": float(peak),
        "idle_in_transaction": 0,
        "longest_idle": 0.0,
        "longest_idle_in_transaction": 0.0,
    }
    user = more.pop("user", "app")
    return AppObserved(App(name, user, database), peak=peak, **(values | more))


def observed(*apps: AppObserved, signs: tuple[Sign, ...] = (), **more: Any) -> Observed:
    total = sum(each.peak for each in apps)
    found = Observed(
        place="db1:5432",
        seconds=60.0,
        samples=60,
        max_connections=100,
        reserved=3,
        connections=total,
        connections_normally=total,
        pooler_connections=0,
        others=0,
        is_partial=False,
        apps=apps,
        signs=signs,
        replicas=(),
        unread_databases=(),
        pooler_error="",
        follows_prepared=None,
    )
    return replace(found, **more)


def plan(found: Observed, ini: str | None = INI, exceptions: Exceptions = NOBODY) -> Plan:
    config = None if ini is None else config_of(ini)
    return judge(found, Target(config, found.place, None), exceptions)


def names(made: Plan) -> list[tuple[str, Step]]:
    return [(item.observed.app.application, item.step) for item in made.items]


def only(made: Plan) -> Item:
    [item] = made.items
    return item


def shown(made: Plan) -> str:
    screen = terminal()
    with screen.capture() as capture:
        print_plan(made, screen)
    return capture.get()


def test_superusers_come_first_then_the_largest() -> None:
    apps = [
        app("small", 2),
        app("large", 30),
        app("worker", 3, is_superuser=True),
        app("webhook", 9, is_superuser=True),
        app("old", 2, longest_idle=9000.0),
    ]
    assert [name for name, _ in names(plan(observed(*apps)))] == [
        *("webhook", "worker", "large", "old", "small")
    ]


def test_signs_of_session_state_keep_an_application_from_simply_moving() -> None:
    signs = tuple(
        Sign(kind, App(name, "app", "shop"), 2)
        for name, kind in (
            ("bus", Kind.LISTEN),
            ("locks", Kind.ADVISORY),
            ("sets", Kind.SET),
            ("prepares", Kind.PREPARE),
        )
    )
    made = plan(observed(*(app(sign.app.application) for sign in signs), app("web"), signs=signs))
    assert names(made) == [
        ("web", Step.MOVE),
        ("prepares", Step.LOOK),
        ("sets", Step.LOOK),
        ("bus", Step.SESSION),
        ("locks", Step.SESSION),
    ]
    assert "LISTEN: notifications come to one connection alone (2 connections)" in shown(made)


def test_temporary_tables_are_of_one_of_the_users_applications() -> None:
    sign = Sign(Kind.TEMPORARY, App("", "app", "shop"), 3, by_user=True)
    found = observed(app("web"), app("other", user="x"), app("far", database="y"), signs=(sign,))
    assert dict(names(plan(found))) == {
        "web": Step.LOOK,
        "other": Step.MOVE,
        "far": Step.MOVE,
    }


def test_tools_and_replication_stay() -> None:
    apps = [app(name) for name in ("pg_dump", "psql", "Patroni restapi", "pgAdmin 4 - DB:x", "web")]
    made = plan(observed(*apps, replicas=(Replica("standby1", "repl", "10.0.0.9", 2),)))
    assert [step for _, step in names(made)] == [Step.MOVE, *[Step.STAY] * 4]
    assert made.staying == 20
    assert all(item.change is None for item in made.items[1:])
    assert "standby1 as repl from 10.0.0.9: 2 walsenders" in shown(made)


def test_who_is_excepted_stays() -> None:
    made = plan(observed(app("mcp"), app("web")), exceptions=Exceptions(["mcp"]))
    assert names(made)[-1] == ("mcp", Step.STAY)


def test_the_change_says_from_where_to_where() -> None:
    change = only(plan(observed(app("web")))).change
    assert change is not None
    assert (change.before, change.after, change.database) == ("db1:5432", "10.0.0.5:6432", "shop")
    assert change.first == ()


def test_another_name_of_the_database_is_said() -> None:
    made = plan(observed(app("web", database="warehouse", user="clerk")))
    assert "database warehouse → store, same user and password" in shown(made)
    assert "[databases] store logs in as keeper for everybody" in shown(made)


def test_what_the_pooler_lacks_comes_before_the_move() -> None:
    made = plan(observed(app("web", database="new")))
    assert "before: [databases] lacks: new = host=db1 port=5432" in shown(made)
    made = plan(observed(app("web")), INI.replace("auth_user = asker\n", ""))
    assert "auth_file lacks user app" in shown(made)


def test_the_star_entry_leads_everywhere_but_to_names_that_are_taken() -> None:
    ini = INI.replace("elsewhere", "new = host=db2 dbname=new\n* = host=db1\nelsewhere")
    change = only(plan(observed(app("web", database="any")), ini)).change
    assert change is not None
    assert change.database == "any"
    assert change.first == ()
    change = only(plan(observed(app("web", database="new")), ini)).change
    assert change is not None
    assert change.first[0].startswith("[databases] lacks: new")


def test_what_it_will_be_is_the_pools_and_those_that_stay() -> None:
    made = plan(observed(app("web", 60), app("api", 20, user="api"), app("pg_dump", 2)))
    assert made.most_servers == 2 * 25 + 25  # shop of two users, store of keeper
    assert made.most_after == 77
    assert made.fits
    assert "at most 77 of 100 (77%), of which 2 stay direct" in shown(made)


def test_what_does_not_fit_is_said() -> None:
    many = [app(f"app {number}", 2, user=f"user{number}") for number in range(5)]
    made = plan(observed(*many))
    assert made.fits is False
    assert "That doesn't fit: ordinary users have 97 of max_connections" in shown(made)


def test_pools_without_a_limit_are_no_number() -> None:
    made = plan(observed(app("web")), INI.replace("size = 20", "size = 0"))
    assert "without a limit" in shown(made)
    assert json.loads(json_of(made))["most_after"] is None


def test_without_a_configuration_the_plan_says_what_it_doesnt_know() -> None:
    made = plan(observed(app("web")), None)
    assert made.fits is None
    assert "HOST:PORT of the pooler" in shown(made)
    assert "unknown without a configuration" in shown(made)
    known = judge(observed(app("web")), Target(None, "db1:5432", "p1:6432"), NOBODY)
    assert "db1:5432 → p1:6432" in shown(known)


def test_long_idleness_and_open_transactions_are_told() -> None:
    made = plan(
        observed(
            app(
                "web",
                longest_idle=4 * 3600.0,
                longest_idle_in_transaction=300.0,
                idle_in_transaction=2,
            )
        )
    )
    assert "idle for up to 4h00m" in shown(made)
    assert "idle in transaction for up to 5m00s (2 at once)" in shown(made)


def test_what_wasnt_seen_is_said() -> None:
    found = observed(
        app("web"), is_partial=True, unread_databases=("secret",), pooler_error="gone", samples=1
    )
    text = shown(plan(found))
    for said in ("GRANT pg_monitor", "temporary tables: secret", "console: gone", "Only 1 look"):
        assert said in " ".join(text.split())
    assert "Nobody connects directly." in shown(plan(observed()))


def test_a_pooler_that_breaks_prepared_statements_is_said() -> None:
    said = "doesn't track prepared statements"
    assert said in " ".join(shown(plan(observed(app("web"), follows_prepared=False))).split())
    for fine in (True, None):
        found = observed(app("web"), follows_prepared=fine)
        assert said not in " ".join(shown(plan(found)).split())


def test_the_markdown_is_a_checklist_that_names_cannot_break() -> None:
    hostile = app("x|<img src=y>\n# h\x1b[2J", user="u*", database="shop")
    text = to_markdown(plan(observed(hostile, app("pg_dump"))))
    [line] = [line for line in text.splitlines() if "img" in line]
    assert line.startswith(
        "- [ ] **x\\|&lt;img src=y&gt;\\\\x0A\\# h\\\\x1B\\[2J** as u\\* on shop"
    )
    assert "- **pg\\_dump** as app" in text
    assert "\x1b" not in text
    assert "## Move, in this order" in text


def test_json_has_steps_and_signs_by_name() -> None:
    sign = Sign(Kind.LISTEN, App("bus", "app", "shop"), 1)
    content = json.loads(json_of(plan(observed(app("bus"), signs=(sign,)))))
    assert content["items"][0]["step"] == "session"
    assert content["items"][0]["change"]["after"] == "10.0.0.5:6432"
    assert content["observed"]["signs"][0]["kind"] == "listen"
    assert content["fits"] is True
