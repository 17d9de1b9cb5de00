"""`pgmux console` at a running pgmux and a running PgBouncer, as a command and on a terminal."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pexpect
import psycopg
import pytest

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.fixtures.operator import without_libpq
from tests.fixtures.tools import command_of
from tests.fixtures.waiting import wait_until

CONSOLE = (sys.executable, "-P", "-m", "pgmux", "console")
TIMEOUT = 20.0
SECRET = "top secret"


def start_pooler(postgres: EmbeddedPostgres, kind: str) -> PoolerProcess:
    """One of either kind, with user admin as its only one."""
    where = f"host={postgres.host} port={postgres.port} dbname=postgres"
    return PoolerProcess(
        port=find_free_port(),
        databases={
            "app": f"{where} user=postgres password={postgres.password}",
            "my-db": where,
        },
        users={"admin": SECRET, "looker": SECRET},
        settings={
            "auth_type": "scram-sha-256",
            "admin_users": "admin",
            "stats_users": "looker",
            "pool_mode": "transaction",
        },
        command=command_of(kind),
    )


@pytest.fixture(scope="module", params=["pgmux", "pgbouncer"])
def pooler(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[PoolerProcess]:
    with start_pooler(postgres, request.param) as started:
        yield started


@pytest.fixture(scope="module")
def pgmux(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    with start_pooler(postgres, "pgmux") as started:
        yield started


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nobody's environment: no PG… but the password, and an own home."""
    return without_libpq(
        HOME=str(tmp_path),
        XDG_STATE_HOME=str(tmp_path / "state"),
        PGPASSWORD=SECRET,
        TERM="xterm",
        PROMPT_TOOLKIT_NO_CPR="1",
    )


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Run:
    """`run(pooler, "SHOW POOLS", stdin="")`: the command as admin, to its end."""

    def run(
        at: PoolerProcess | None, *arguments: str, stdin: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CONSOLE, *(() if at is None else place_of(at)), *arguments],
            input=stdin,
            cwd=tmp_path,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            start_new_session=True,  # without a terminal to ask for a password
        )

    return run


def place_of(pooler: PoolerProcess) -> tuple[str, ...]:
    return ("-h", pooler.host, "-p", str(pooler.port), "-U", "admin")


# One command


@pytest.mark.parametrize("options", [(), ("-x",)], ids=["", "expanded"])
def test_a_pipe_gets_what_psql_prints(
    pooler: PoolerProcess,
    postgres: EmbeddedPostgres,
    run: Run,
    environ: dict[str, str],
    options: tuple[str, ...],
) -> None:
    commands = []
    for command in ("SHOW DATABASES", "SHOW CONFIG", "show version;", "SHOW POOLS", "RELOAD"):
        commands += ["-c", command]
    done = run(pooler, *options, *commands)
    psql = [str(postgres.tool("psql")), "-X", *options, *place_of(pooler), *commands]
    expected = subprocess.run(
        [*psql, "pgbouncer"], env=environ, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected.stdout


def test_what_can_t_be_written_is_said(pooler: PoolerProcess, environ: dict[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*CONSOLE, *place_of(pooler), "SHOW VERSION"],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
        )
    assert done.stderr == "cannot write to stdout: No space left on device\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("timeout", "code", "text"),
    [("-1", 0, ""), ("0", 0, ""), ("soon", 2, "connect_timeout is no number of seconds: soon")],
)
def test_a_connect_timeout_is_read_as_libpq_reads_it(
    pooler: PoolerProcess, run: Run, timeout: str, code: int, text: str
) -> None:
    done = run(pooler, "SHOW VERSION", PGCONNECT_TIMEOUT=timeout)
    assert done.returncode == code and text in done.stderr


def test_json_is_typed_and_csv_has_a_header(pooler: PoolerProcess, run: Run) -> None:
    databases, stats = run(pooler, "--json", "SHOW DATABASES", "SHOW STATS").stdout.split("]\n[")
    row = next(row for row in json.loads(f"{databases}]") if row["name"] == "app")
    assert (row["pool_size"], row["database"], row["pool_mode"]) == (20, "postgres", None)
    row = json.loads(f"[{stats}")[0]
    assert {type(value) for name, value in row.items() if name != "database"} == {int}

    rows = list(csv.DictReader(run(pooler, "--csv", "SHOW LISTS").stdout.splitlines()))
    assert {"list": "databases", "items": "3"} in rows


def test_commands_run_in_order_and_stop_at_the_first_error(pooler: PoolerProcess, run: Run) -> None:
    done = run(pooler, "PAUSE app; RESUME app", "SET query_timeout = 0", "-c", "RELOAD")
    tags = ["RELOAD", "PAUSE", "RESUME", "SET query_timeout=0"]
    assert (done.returncode, done.stdout.splitlines()) == (0, tags)
    done = run(pooler, "RELOAD", "nonsense", "RELOAD")
    assert (done.returncode, done.stdout) == (1, "RELOAD\n")
    assert done.stderr == "ERROR:  invalid command 'nonsense', use SHOW HELP;\n"


def test_commands_are_read_from_a_pipe(pooler: PoolerProcess, run: Run) -> None:
    done = run(pooler, "--csv", stdin="show version; \n\nhelp\nSHOW LISTS\nquit\nnonsense\n")
    assert done.returncode == 0
    assert done.stdout.startswith("version\nPgBouncer ")
    assert "databases,3" in done.stdout
    assert "NOTICE:  Console usage\nDETAIL:  \n\tSHOW HELP|" in done.stderr
    assert run(pooler, stdin="nonsense\nSHOW VERSION\n").returncode == 1
    assert run(pooler).returncode == 0


def test_who_may_only_look_is_told(pooler: PoolerProcess, run: Run) -> None:
    done = run(pooler, "-U", "looker", "SHOW VERSION", "RELOAD")
    assert done.returncode == 1
    assert "PgBouncer" in done.stdout
    assert "admin access needed" in done.stderr


def test_a_secret_is_not_repeated(pooler: PoolerProcess, run: Run) -> None:
    done = run(pooler, "SET auth_ldap_options = 'ldapbindpasswd=hunter2'", "set password hunter2")
    assert "hunter2" not in done.stdout + done.stderr
    assert "ERROR" in done.stderr


def test_watch_repeats_until_ctrl_c(pgmux: PoolerProcess, environ: dict[str, str]) -> None:
    command = [*CONSOLE, *place_of(pgmux), "--watch", "0.1", "--csv", "SHOW LISTS"]
    lines: list[str] = []
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        while sum(line == "list,items\n" for line in lines) < 3:
            lines.append(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        assert watching.wait(TIMEOUT) == 0


# Where


def test_the_place_is_found_in_pgbouncer_ini(
    pooler: PoolerProcess, run: Run, tmp_path: Path
) -> None:
    config = pooler.directory / "pgbouncer.ini"
    assert run(None, "--config", str(config), "SHOW VERSION").returncode == 0
    (tmp_path / "pgbouncer.ini").write_text(config.read_text())
    done = run(None, "SHOW CLIENTS", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["user"], row["addr"]) == ("admin", "unix")


def test_a_url_and_libpqs_variables_say_it_too(pooler: PoolerProcess, run: Run) -> None:
    url = f"postgresql://admin:top%20secret@{pooler.host}:{pooler.port}/pgbouncer"
    assert run(None, "-d", url, "SHOW VERSION", PGPASSWORD="").returncode == 0
    variables = {"PGHOST": pooler.host, "PGPORT": str(pooler.port), "PGUSER": "admin"}
    assert run(None, "SHOW VERSION", **variables).returncode == 0


def test_the_poolers_own_account_needs_no_password(
    pooler: PoolerProcess, environ: dict[str, str]
) -> None:
    # Imported first: the account may not read what root has installed for itself.
    code = (
        "import os, sys; import pgmux.cli.console; from pgmux.cli.main import commands;"
        "os.seteuid(int(sys.argv.pop(1))); commands()"
    )
    uid = Path(f"/proc/{pooler.pid}").stat().st_uid
    config = str(pooler.directory / "pgbouncer.ini")
    arguments = ["console", "--config", config, "--json", "SHOW CLIENTS"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(uid), *arguments],
        env=environ | {"PGPASSWORD": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.stderr == ""
    assert [row["user"] for row in json.loads(done.stdout)] == ["pgbouncer"]


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (("-p", "1"), "Connection refused", "Is the pooler running there?"),
        (("-h", "/nowhere"), 'socket "/nowhere/.s.PGSQL.', "Is the pooler running there?"),
        (("-U", "nobody"), "failed: FATAL:  ", "auth_file"),
        (("-d", "app", "-U", "looker"), 'database "app"', "no console"),
    ],
)
def test_without_a_connection_the_exit_code_is_2_and_the_error_says_what_to_do(
    pgmux: PoolerProcess, run: Run, arguments: tuple[str, ...], said: str, hint: str
) -> None:
    done = run(pgmux, *arguments, "SHOW VERSION")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert hint in done.stderr


# Commands that wait or end everything


def test_ctrl_c_cancels_a_command_that_waits(
    pooler: PoolerProcess, environ: dict[str, str]
) -> None:
    count = pooler.log().count("PAUSE command issued")
    url = f"postgresql://admin:top%20secret@{pooler.host}:{pooler.port}"
    with closing(psycopg.connect(f"{url}/app")) as client:
        client.execute("SELECT 1", prepare=False)
        command = [*CONSOLE, *place_of(pooler), "PAUSE", "SHOW VERSION"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as pausing:
            wait_until(lambda: pooler.log().count("PAUSE command issued") > count)
            pausing.send_signal(signal.SIGINT)
            out, _ = pausing.communicate(timeout=TIMEOUT)
        assert out == ""
        assert pausing.returncode in (1, 130)
        client.commit()
        assert client.execute("SELECT 2", prepare=False).fetchone() == (2,)  # not paused


@pytest.mark.parametrize("kind", ["pgmux", "pgbouncer"])
def test_shutdown_is_no_error_though_nothing_answers(
    postgres: EmbeddedPostgres, run: Run, kind: str
) -> None:
    with start_pooler(postgres, kind) as ending:
        done = run(ending, "SHUTDOWN")
        assert (done.returncode, done.stdout, done.stderr) == (0, "SHUTDOWN\n", "")
        assert run(ending, "SHOW VERSION").returncode == 2


# On a terminal


class Terminal:
    """The console on a terminal of 80 columns; what it shows, without escape sequences."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self.child = child

    def type(self, keys: str) -> None:
        self.child.send(keys)

    def until(self, text: str) -> str:
        """What is shown up to and with `text`; fails where it never comes."""
        self.child.expect_exact(text)
        shown = (self.child.before or "") + text
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    def run(self, command: str) -> str:
        """What is shown between a command and the next prompt."""
        self.type(f"{command}\r")
        self.until("\r\n")
        return self.until("=>")

    def end(self) -> int:
        self.child.expect(pexpect.EOF)
        self.child.close()
        code: int = self.child.exitstatus
        return code


@pytest.fixture
def open_terminal(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as stack:

        def open_(at: PoolerProcess, *arguments: str, **more: str) -> Terminal:
            child: pexpect.spawn[str] = pexpect.spawn(
                CONSOLE[0],
                [*CONSOLE[1:], *place_of(at), *arguments],
                cwd=str(tmp_path),
                env=environ | more,
                encoding="utf-8",
                dimensions=(40, 80),
                timeout=TIMEOUT,
            )
            stack.callback(child.close, force=True)
            return Terminal(child)

        yield open_


OpenTerminal = Callable[..., Terminal]


def test_a_session_at_the_prompt(
    pooler: PoolerProcess, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    terminal = open_terminal(pooler)
    assert f"admin@{pooler.host}:{pooler.port}=>" in terminal.until("=>")
    terminal.type("show dat\t")
    terminal.until("abases")
    terminal.type("\r")
    terminal.until("--- 1 ---")  # wider than the terminal
    terminal.until("=>")
    terminal.type("PAUSE my\t")
    terminal.until('"my-db"')
    terminal.type("\r")
    terminal.until("PAUSE\r\n")
    terminal.until("=>")
    assert "RESUME" in terminal.run('RESUME "my-db"')
    terminal.type("SET query_tim\t")
    terminal.until("eout")
    terminal.type("\x03")  # Ctrl-C takes the line back
    terminal.until("\r\n")
    terminal.until("=>")
    assert "ERROR:  invalid command 'nonsense'" in terminal.run("nonsense")
    assert "SHOW HELP|" in terminal.run("help")
    assert "Expanded display is on" in terminal.run("\\x")
    assert "--- 1 ---" in terminal.run("SHOW VERSION")
    terminal.run("SET auth_ldap_options = 'ldapbindpasswd=hunter2'")
    terminal.type("\x04")
    assert terminal.end() == 0
    history = tmp_path / "state" / "pgmux" / "console_history"
    kept = history.read_text()
    assert 'RESUME "my-db"' in kept
    assert "hunter2" not in kept
    assert history.stat().st_mode & 0o777 == 0o600
    again = open_terminal(pooler)
    again.until("=>")
    again.type("\x1b[A\r")  # up: the last line that has been kept
    again.until(" row")
    again.until("=>")
    again.type("quit\r")
    assert again.end() == 0


def test_ctrl_c_at_the_prompt_ends_what_waits_and_not_the_console(
    pooler: PoolerProcess, open_terminal: OpenTerminal
) -> None:
    count = pooler.log().count("PAUSE command issued")
    url = f"postgresql://admin:top%20secret@{pooler.host}:{pooler.port}"
    with closing(psycopg.connect(f"{url}/app")) as client:
        client.execute("SELECT 1", prepare=False)
        terminal = open_terminal(pooler)
        terminal.until("=>")
        terminal.type("PAUSE\r")
        terminal.until("\r\n")
        wait_until(lambda: pooler.log().count("PAUSE command issued") > count)
        terminal.type("\x03")
        assert "cancel" in terminal.until("=>").lower()
        assert "PgBouncer" in terminal.run("SHOW VERSION")
        client.commit()
        assert client.execute("SELECT 2", prepare=False).fetchone() == (2,)


def test_a_lost_connection_is_said_and_made_again(
    pgmux: PoolerProcess, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(pgmux)
    terminal.until("=>")
    pgmux.close()
    pgmux.start()
    assert "connecting again" in (shown := terminal.run("SHOW VERSION"))
    assert "PgBouncer" in shown


def test_a_dumb_terminal_has_a_prompt_too(
    pgmux: PoolerProcess, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(pgmux, TERM="dumb")
    terminal.until("=>")
    terminal.type("SHOW VERSION\r")
    terminal.until("PgBouncer 1.25.2")
    terminal.until("=>")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_password_is_asked_for_and_not_shown(
    pooler: PoolerProcess, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(pooler, "SHOW VERSION", PGPASSWORD="")
    terminal.until(f"Password for user admin at {pooler.host}: ")
    terminal.type(f"{SECRET}\r")
    shown = terminal.until("PgBouncer")
    assert SECRET not in shown
    assert terminal.end() == 0
    refused = open_terminal(pooler, "-w", "SHOW VERSION", PGPASSWORD="")
    refused.until("no password supplied")
    assert refused.end() == 2


def test_watch_shows_the_newest_in_one_place(
    pgmux: PoolerProcess, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(pgmux, "--watch", "0.1", "SHOW LISTS")
    for _ in range(3):
        terminal.until("(every 0.1 s)")
    terminal.type("\x03")
    assert terminal.end() == 0
