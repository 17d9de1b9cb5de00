"""`pgmux cutover watch` and `record`, while applications move from PostgreSQL to a pooler."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from collections.abc import Callable

import pexpect
import pytest

from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.e2e.ops.cutover.site import (
    COMMAND,
    Site,
    ended,
    samples_in,
    start_pooler,
    wait_for_sample,
)

Running = Callable[..., subprocess.Popen[str]]

FAST = ("--interval", "0.2")
HOSTILE = "eve|<b>\x1b[31m`[x](y)"


def test_two_applications_move_while_it_watches(site: Site, running: Running) -> None:
    site.connect("billing", 3)
    site.connect("worker", 2)
    site.connect("pg_dump")
    file = site.directory / "moved.jsonl"
    # What else the tests have connected to this PostgreSQL is no concern of this one.
    others = ("--except-user", "postgres", "--except-user", "role_other*")
    watch = running(
        *("watch", *site.both, *FAST, "--until-done", "--record", str(file)),
        *("--except", "pg_dump", *others),
    )
    first = wait_for_sample(file, lambda sample: "billing" in site.apps(sample))
    assert site.apps(first) == {"billing": (3, 0), "worker": (2, 0), "pg_dump": (1, 0)}
    site.move("billing")
    half = wait_for_sample(file, lambda sample: site.apps(sample).get("billing") == (0, 3))
    assert site.apps(half)["worker"] == (2, 0)
    assert half["pooler"]["clients"] >= 3
    site.move("worker")
    code, out, err = ended(watch)
    assert (code, err) == (0, "")
    assert f"billing as {site.role[0]} on {site.database}: through the pooler" in out
    last = samples_in(file)[-1]
    assert site.apps(last) == {"billing": (0, 3), "worker": (0, 2), "pg_dump": (1, 0)}
    assert 0 < last["server"]["pooler_connections"] <= 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["pgmux"])
def test_once_says_who_is_direct_and_ends_with_1(site: Site) -> None:
    site.connect(HOSTILE, 2)
    site.connect("worker", 2, through_pooler=True)
    done = site.run("watch", *site.both, "--once")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    [row] = [line for line in done.stdout.splitlines() if "eve|<b>" in line]
    assert row.split()[-3:] == ["0", "direct", "127.0.0.1"]
    assert "through the pooler" in done.stdout
    done = site.run("watch", *site.both, "--once", "--except", "eve*", "--except-user", "postgres")
    assert "direct, excepted" in done.stdout


@pytest.mark.parametrize("kind", ["pgmux"])
def test_the_ini_file_says_where_the_console_is(site: Site) -> None:
    site.connect("worker", through_pooler=True)
    ini = str(site.pooler.directory / "pgbouncer.ini")
    done = site.run("watch", ini, "--postgres", site.server_conninfo, "--json", "--once")
    content = json.loads(done.stdout)
    assert site.apps(content) == {"worker": (0, 1)}
    assert content["server"]["max_connections"] == 200
    assert content["pooler"]["unknown_servers"] == 0


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_name_that_postgres_changes_is_the_same_application(site: Site) -> None:
    site.connect("größe", 1)
    site.connect("größe", 1, through_pooler=True)
    done = site.run("watch", *site.both, "--json", "--once")
    assert list(site.apps(json.loads(done.stdout)).values()) == [(1, 1)]


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_pooler_that_restarts_is_said_and_found_again(site: Site, running: Running) -> None:
    file = site.directory / "restart.jsonl"
    watch = running("watch", *site.both, *FAST, "--record", str(file))
    wait_for_sample(file, lambda sample: bool(sample["pooler"]))
    site.pooler.close()
    gone = wait_for_sample(file, lambda sample: not sample["pooler"])
    assert gone["server"]
    assert gone["pooler_error"]
    again = start_pooler(site.postgres, "pgmux", site.database, site.role, site.pooler.port)
    with again:
        wait_for_sample(file, lambda sample: sample["at"] > gone["at"] and bool(sample["pooler"]))
        watch.send_signal(signal.SIGINT)
        code, out, err = ended(watch)
    assert (code, err) == (130, "")
    assert "no connection to the console" in out or "has ended" in out


@pytest.mark.parametrize("kind", ["pgmux"])
def test_what_it_needs_is_said_before_anything_is_written(site: Site) -> None:
    file = site.directory / "none.jsonl"
    nobody = f"host=127.0.0.1 port={find_free_port()} user=postgres"
    recording = ("--record", str(file))
    done = site.run("watch", "--postgres", nobody, "--console", site.console_conninfo, *recording)
    assert done.returncode == 2
    assert "no connection to PostgreSQL at 127.0.0.1" in done.stderr
    done = site.run("watch", "--postgres", site.server_conninfo, "--console", nobody, *recording)
    assert done.returncode == 2
    assert "Is the pooler running there?" in done.stderr
    done = site.run("watch", *site.both, *recording, "-w", PGPASSWORD="not the secret")
    assert done.returncode == 2
    assert "not the secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_role_without_rights_counts_and_says_what_it_lacks(site: Site) -> None:
    site.connect("worker", 2)
    user, password = site.role
    site.connect("reporter", through_pooler=True)
    small = site.server_conninfo.replace("user=postgres", f"user={user}")
    passwords = site.directory / "passfile"
    passwords.write_text(f"*:*:*:{user}:{password}\n*:*:*:postgres:{site.postgres.password}\n")
    passwords.chmod(0o600)
    done = site.run(
        *("watch", "--postgres", small, "--console", site.console_conninfo, "--once"),
        PGPASSFILE=str(passwords),
        PGPASSWORD="",
    )
    assert done.returncode == 1
    assert "sees no addresses and states of others" in done.stdout


@pytest.mark.parametrize("kind", ["pgmux"])
def test_recording_needs_no_pooler_and_goes_on_where_postgres_restarts(
    site: Site, running: Running
) -> None:
    with EmbeddedPostgres(max_connections=20, auth_method="trust") as server:
        where = f"host={server.host} port={server.port} user=postgres"
        file = site.directory / "record.jsonl"
        record = running("record", str(file), "--postgres", where, *FAST)
        first = wait_for_sample(file, lambda sample: bool(sample["server"]))
        assert first["pooler"] is None
        assert first["pooler_error"] == ""
        server.stop()
        gone = wait_for_sample(file, lambda s: "no connection to PostgreSQL" in s["server_error"])
        server.start()
        wait_for_sample(file, lambda sample: sample["at"] > gone["at"] and bool(sample["server"]))
        record.send_signal(signal.SIGINT)
        code, out, err = ended(record)
    assert (code, out) == (130, "")
    assert "no connection to PostgreSQL" in err


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_postgres_that_is_full_is_recorded_as_such(site: Site) -> None:
    with EmbeddedPostgres(
        max_connections=8, settings={"superuser_reserved_connections": 1}, auth_method="trust"
    ) as server:
        server.psql("CREATE ROLE app LOGIN; CREATE ROLE looker LOGIN IN ROLE pg_monitor")
        busy = site.postgres
        site.postgres = server
        site.role, site.database = ("app", ""), "postgres"
        site.connect("crowd", 7)
        file = site.directory / "full.jsonl"
        where = f"host={server.host} port={server.port} user=looker dbname=postgres"
        done = site.run("record", str(file), "--postgres", where, "--once")
        assert done.returncode == 0
        [sample] = samples_in(file)
        assert sample["is_refused"]
        assert sample["server"] is None
        site.leave("crowd")
        site.postgres = busy


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_reader_that_leaves_ends_it_without_a_traceback(site: Site) -> None:
    watch = [*COMMAND, "watch", *site.both, *FAST]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" | head -n 1', "sh", *watch],
        cwd=site.directory,
        env=site.environ,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_terminal_is_drawn_in_place_and_left_by_ctrl_c(site: Site) -> None:
    site.connect(HOSTILE, 2)
    watch, *arguments = [*COMMAND, "watch", *site.both, *FAST]
    environ = site.environ | {"COLUMNS": "160", "LINES": "40"}
    child = pexpect.spawn(watch, arguments, env=environ, timeout=20, encoding="utf-8")
    child.expect(r"eve\|<b>(\\x1b|\?)\[31m")  # as PostgreSQL has it
    site.move(HOSTILE)
    child.expect("through the pooler")
    child.expect("Ctrl-C ends")
    child.sendintr()
    child.expect(pexpect.EOF)
    assert "Traceback" not in child.before
    assert child.before.rstrip().endswith("\x1b[?25h")  # the cursor is there again
    assert child.wait() == 130


@pytest.mark.parametrize("kind", ["pgmux"])
def test_a_file_that_is_no_recording_stays_as_it_is(site: Site) -> None:
    foreign = site.directory / "notes.txt"
    foreign.write_text("mine\n")
    done = site.run("record", str(foreign), "--postgres", site.server_conninfo, "--once")
    assert done.returncode == 2
    assert "notes.txt is no recording of pgmux cutover" in done.stderr
    assert foreign.read_text() == "mine\n"
