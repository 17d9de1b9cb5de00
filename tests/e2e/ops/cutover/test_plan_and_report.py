"""`pgmux cutover plan` and `report` of a real PostgreSQL and its pooler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgmux.ops.postgres import find_free_port
from tests.e2e.ops.cutover.site import Site

RUN = {
    "bus": "/* a comment */ LISTEN news",
    "locks": "SELECT pg_advisory_lock(7)",
    "sets": "SET statement_timeout = '3s'",
    "encodes": "SET client_encoding = 'UTF8'",
    "local": "SET LOCAL work_mem = '1MB'",
    "prepares": "PREPARE q AS SELECT 1",
}


def planned(site: Site, content: dict[str, Any]) -> dict[str, str]:
    """Of our applications, the steps."""
    return {
        item["observed"]["app"]["application"]: item["step"]
        for item in content["items"]
        if item["observed"]["app"]["database"] == site.database
    }


def test_the_plan_is_of_what_postgres_shows(site: Site) -> None:
    site.connect("web", 3)
    site.connect("moved", 2, through_pooler=True)
    site.connect("pg_dump")
    for name, statement in RUN.items():
        site.connect(name)
        site.connections[name][0].execute(statement.encode())
    ini = str(site.pooler.directory / "pgbouncer.ini")
    arguments = ("plan", ini, *site.both, "--for", "0.5", "--interval", "0.2")
    done = site.run(*arguments, "--json")
    content = json.loads(done.stdout)
    assert planned(site, content) == {
        "web": "move",
        "encodes": "move",
        "local": "move",
        "sets": "look",
        "prepares": "look",
        "bus": "session",
        "locks": "session",
        "pg_dump": "stay",
    }
    assert content["observed"]["samples"] >= 2
    assert content["observed"]["pooler_connections"] >= 1
    [web] = [each for each in content["items"] if each["observed"]["app"]["application"] == "web"]
    assert web["observed"]["peak"] == 3
    assert web["change"] == {
        "before": f"{site.postgres.host}:{site.postgres.port}",
        "after": f"{site.pooler.host}:{site.pooler.port}",
        "database": "app",
        "first": [],
    }


@pytest.mark.parametrize("kind", ["pgmux"])
def test_temporary_tables_are_found_in_every_database(site: Site) -> None:
    site.connect("web")
    site.connect("reports")
    site.connections["reports"][0].execute("CREATE TEMPORARY TABLE scratch (x int)")
    done = site.run("plan", "--postgres", site.server_conninfo, "--for", "0", "--json")
    assert done.returncode == 0
    assert planned(site, json.loads(done.stdout)) == {"web": "look", "reports": "look"}


@pytest.mark.parametrize("kind", ["pgmux"])
def test_the_checklist_is_markdown_and_says_where_the_console_was_not(site: Site) -> None:
    site.connect("web|<b>", 2)
    ini, port = site.directory / "pgbouncer.ini", find_free_port()
    ini.write_text(
        f"[databases]\n{site.database} = host={site.postgres.host} port={site.postgres.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
    )
    done = site.run(
        *("plan", str(ini), "--postgres", site.server_conninfo, "--for", "0", "--markdown"),
        *("--except-user", "postgres"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "- [ ] **web\\|&lt;b&gt;** as " in done.stdout
    assert f"  - {site.postgres.host}:{site.postgres.port} → 127.0.0.1:{port}" in (done.stdout)
    assert "console: no connection" in done.stdout


@pytest.mark.parametrize("kind", ["pgmux"])
def test_bad_input_is_said_in_a_line(site: Site) -> None:
    nobody = f"host=127.0.0.1 port={find_free_port()} user=postgres"
    password = site.postgres.password
    pooler = site.console_conninfo.replace("user=postgres", f"user={site.role[0]} dbname=app")
    for arguments, said in (
        (("plan", "/no/such.ini", "--postgres", nobody), "/no/such.ini"),
        (("plan", "--postgres", f"{nobody} password=x"), "a password on a command line"),
        (("plan", *site.both[:2], "--console", nobody), "Is the pooler running there?"),
        (("plan", "--postgres", site.console_conninfo + " dbname=pgbouncer"), "console"),
        (("plan", "--postgres", pooler), "is a pooler, not PostgreSQL itself"),
    ):
        done = site.run(*arguments, PGPASSWORD=site.role[1] if pooler in arguments else password)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["pgbouncer"])
def test_before_and_after_of_a_move_are_compared(site: Site) -> None:
    before, after = str(site.directory / "before.jsonl"), str(site.directory / "after.jsonl")
    fast = ("--interval", "0.1", "--for", "0.6")
    site.connect("web|<b>", 12)
    assert site.run("record", before, "--postgres", site.server_conninfo, *fast).returncode == 0
    site.move("web|<b>")
    assert site.run("record", after, *site.both, *fast).returncode == 0
    done = site.run("report", before, after, "--least", "3", "--markdown")
    assert (done.returncode, done.stderr) == (0, "")
    [row] = [line for line in done.stdout.splitlines() if "web\\|&lt;b&gt;" in line]
    cells = [cell.strip() for cell in row.replace("\\|", "").split("|")]
    assert cells[4:8] == ["12 (12)", "–", "–", "12 (12)"]
    done = site.run("report", before, after, "--json", "--least", "3")
    content = json.loads(done.stdout)
    peaks = [content[each]["connections"]["peak"] for each in ("before", "after")]
    assert peaks[0] > peaks[1]
    assert content["after"]["pooler"]["clients"]["peak"] >= 12
