"""psql and pgbench through pgmux: scripts, their own features, and load without an error."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import MakePooler, Pooler

TRANSACTIONS = 20  # of each client


@pytest.fixture(scope="module")
def bench(module_pooler: MakePooler) -> Pooler:
    """A pool of ten servers."""
    return module_pooler(settings={"default_pool_size": 10, "max_client_conn": 500})


@pytest.fixture(scope="module")
def bench_db(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = "pgbench"
    postgres.psql(f"CREATE DATABASE {name} STRATEGY file_copy")
    pgbench = [str(postgres.tool("pgbench")), "-i", "-I", "dtGvp", "-q", postgres.dsn(name)]
    subprocess.run(pgbench, check=True, capture_output=True, timeout=60)
    yield name
    postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")


def run_pgbench(
    postgres: EmbeddedPostgres, dsn: str, *options: str, clients: int = 100
) -> tuple[int, str]:
    """Transactions that succeeded, and all that it printed."""
    # A thread each: pgbench prepares with a call that blocks its thread's other clients, which may
    # hold all servers in a transaction just then.
    threads = ("-c", str(clients), "-j", str(clients))
    command = [str(postgres.tool("pgbench")), "-n", *threads, *options, dsn]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "ERROR" not in output and "FATAL" not in output, output
    processed = re.search(r"actually processed: (\d+)", output)
    assert processed is not None
    return int(processed[1]), output


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["select-only", "simple-update"])
def test_pgbench_with_a_hundred_clients_through_ten_servers(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str, protocol: str, script: str
) -> None:
    options = ("-b", script, "-M", protocol, "-t", str(TRANSACTIONS))
    processed, _ = run_pgbench(postgres, bench.dsn(bench_db), *options)
    assert processed == 100 * TRANSACTIONS
    pools = bench.console("SHOW POOLS")
    servers = [row["sv_idle"] + row["sv_used"] for row in pools if row["database"] == bench_db]
    assert 2 <= servers[0] <= 10


def test_pgbench_connecting_for_each_transaction(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str
) -> None:
    processed, _ = run_pgbench(postgres, bench.dsn(bench_db), "-S", "-C", "-t", "10", clients=20)
    assert processed == 200


def test_pgbench_over_the_unix_socket(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str
) -> None:
    dsn = bench.dsn(bench_db, unix_socket=True)
    processed, _ = run_pgbench(postgres, dsn, "-S", "-M", "prepared", "-t", "50", clients=20)
    assert processed == 1000


def test_pgbench_pipelines(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str, tmp_path: Path
) -> None:
    script = tmp_path / "pipeline.sql"
    queries = "SELECT 1;\nSELECT abalance FROM pgbench_accounts WHERE aid = 1;\n" * 5
    script.write_text(f"\\startpipeline\nBEGIN;\n{queries}COMMIT;\n\\endpipeline\n")
    for protocol in ("extended", "prepared"):
        options = ("-f", str(script), "-M", protocol, "-t", str(TRANSACTIONS))
        processed, _ = run_pgbench(postgres, bench.dsn(bench_db), *options)
        assert processed == 100 * TRANSACTIONS


@pytest.mark.parametrize("mode", ["session", "statement"])
def test_pgbench_in_the_other_modes(
    postgres: EmbeddedPostgres, pooler: MakePooler, bench_db: str, mode: str
) -> None:
    other = pooler(settings={"pool_mode": mode, "default_pool_size": 10})
    for protocol in ("simple", "extended", "prepared"):
        options = ("-S", "-M", protocol, "-t", str(TRANSACTIONS))
        clients = 10 if mode == "session" else 50
        processed, _ = run_pgbench(postgres, other.dsn(bench_db), *options, clients=clients)
        assert processed == clients * TRANSACTIONS


def psql(postgres: EmbeddedPostgres, dsn: str, script: str, *options: str) -> str:
    command = [str(postgres.tool("psql")), "-XAt", *options, "-d", dsn]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_psql_scripts_and_backslash_commands(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str
) -> None:
    dsn = bench.dsn(bench_db)
    assert "pgbench_accounts" in psql(postgres, dsn, r"\d")
    assert "abalance" in psql(postgres, dsn, r"\d pgbench_accounts")
    assert psql(postgres, dsn, r"\gdesc".join(["SELECT 1 AS one ", "\n"])) == "one|integer\n"
    if r"\bind" in psql(postgres, dsn, r"\?"):  # since psql 16
        assert psql(postgres, dsn, "SELECT $1, $2 \\bind 'a' 'b' \\g\n") == "a|b\n"
    assert psql(postgres, dsn, "SELECT 'a' \\; SELECT 'b';") == "a\nb\n"


def test_psql_copies(postgres: EmbeddedPostgres, bench: Pooler, bench_db: str) -> None:
    script = """
    CREATE TEMP TABLE here (i int, t text);
    COPY here FROM STDIN;
1\tone
2\ttwo
\\.
    \\copy here to stdout
    """
    assert "1\tone\n2\ttwo" in psql(postgres, bench.dsn(bench_db), script, "-1")


def test_psql_in_a_single_transaction_stops_at_its_error(
    postgres: EmbeddedPostgres, bench: Pooler, bench_db: str
) -> None:
    script = "CREATE TABLE never (i int);\nSELECT 1/0;\n"
    output = psql(postgres, bench.dsn(bench_db), script, "-1", "-v", "ON_ERROR_STOP=1")
    assert "division by zero" in output
    assert "never" not in psql(postgres, bench.dsn(bench_db), r"\dt")


def test_pg_dump_and_pg_restore_through_a_session_alias_of_a_transaction_pool(
    postgres: EmbeddedPostgres,
    pooler: MakePooler,
    create_database: Callable[..., str],
    bench_db: str,
    tmp_path: Path,
) -> None:
    copy = create_database()
    aliases = {
        "from_session": f"dbname={bench_db} pool_mode=session",
        "to_session": f"dbname={copy} pool_mode=session",
    }
    front = pooler(databases={"*": "", **aliases})
    archive = tmp_path / "archive"
    dump = ("pg_dump", "-Fd", "-j", "2", "-f", str(archive), "-d", front.dsn("from_session"))
    restore = (
        "pg_restore",
        "-j",
        "3",
        "--exit-on-error",
        "-d",
        front.dsn("to_session"),
        str(archive),
    )
    for name, *options in (dump, restore):
        command = [str(postgres.tool(name)), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    query = "SELECT count(*), sum(abalance) FROM pgbench_accounts;"
    whole = psql(postgres, postgres.dsn(bench_db), query)
    assert whole.startswith("100000|")
    # through the transaction pool of the same database, which the tools' SETs haven't touched
    assert psql(postgres, front.dsn(copy), query) == whole
