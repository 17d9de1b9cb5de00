"""PostgreSQL's own tools of replication, and a standby, through the pooler."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgmux.ops.installation import give_to
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.replication.conftest import HBA, SETTINGS
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

TIMEOUT = 60  # seconds, of one tool


def run(server: EmbeddedPostgres, tool: str, *arguments: object) -> None:
    command = [str(server.tool(tool)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr


@contextmanager
def running(server: EmbeddedPostgres, tool: str, *arguments: object) -> Iterator[None]:
    """The tool, which is to end cleanly when it is asked to."""
    command = [str(server.tool(tool)), *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.communicate()


def test_pg_receivewal_gets_the_very_wal(
    pgmux: Pooler, primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    where = ("-d", pgmux.dsn(), "-S", "receivewal")
    run(primary, "pg_receivewal", *where, "--create-slot")
    segment = primary.psql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    with running(primary, "pg_receivewal", *where, "-D", tmp_path):
        wait_until(lambda: (tmp_path / f"{segment}.partial").exists())
        primary.psql("CREATE TABLE received AS SELECT * FROM generate_series(1, 10000)")
        primary.psql("SELECT pg_switch_wal()")
        received = tmp_path / segment
        wait_until(received.exists)
    assert received.read_bytes() == (primary.data_dir / "pg_wal" / segment).read_bytes()
    run(primary, "pg_receivewal", *where, "--drop-slot")
    assert primary.psql("SELECT count(*) FROM pg_replication_slots WHERE NOT temporary") == "0"


def test_pg_recvlogical_gets_changes(
    pgmux: Pooler, primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    changes = tmp_path / "changes"
    where = ("-d", pgmux.dsn(), "-S", "recvlogical")
    run(primary, "pg_recvlogical", *where, "--create-slot", "-P", "test_decoding")
    primary.psql("CREATE TABLE decoded (n int)")
    with running(primary, "pg_recvlogical", *where, "--start", "-f", changes):
        primary.psql("INSERT INTO decoded VALUES (1), (2)")
        wait_until(lambda: changes.exists() and "INSERT: n[integer]:2" in changes.read_text())
    run(primary, "pg_recvlogical", *where, "--drop-slot")


class Standby(EmbeddedPostgres):
    """A server whose data pg_basebackup fetches, and whose WAL comes from the same place."""

    def __init__(self, source: str) -> None:
        super().__init__(settings=SETTINGS, hba=HBA)
        self._source = source

    def _initdb(self) -> None:
        self.socket_dir.mkdir(mode=0o755)
        give_to(self._account, self.socket_dir)
        options = ("-X", "stream", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        run(self, "pg_basebackup", "-d", self._source, "-D", self.data_dir, *options)
        run(self, "pg_verifybackup", self.data_dir)
        give_to(self._account, self.data_dir)


def test_a_backup_is_whole_and_starts_as_a_standby_that_follows(
    pgmux: Pooler, primary: EmbeddedPostgres
) -> None:
    primary.psql("CREATE TABLE copied AS SELECT 'before' AS t")
    with Standby(pgmux.dsn()) as standby:
        primary.psql("INSERT INTO copied VALUES ('after')")
        rows = "SELECT string_agg(t, ' ' ORDER BY t) FROM copied"
        wait_until(lambda: standby.psql(rows) == "after before")
        (row,) = (r for r in pgmux.console("SHOW CLIENTS") if r["replication"] == "physical")
        assert (row["database"], row["application_name"]) == ("replication", "walreceiver")
        standby.stop()  # its confirmation comes through, too
        assert standby.log_file.read_text().rstrip().endswith("database system is shut down")
    wait_until(lambda: not primary.psql("SELECT pid FROM pg_stat_replication"))
