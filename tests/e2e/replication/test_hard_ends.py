"""Replication that ends badly, or for want of places: nothing is left behind on PostgreSQL."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.replication.conftest import OpenReplication
from tests.e2e.replication.test_connections import LOGICAL, start
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until


def walsenders(primary: EmbeddedPostgres) -> list[str]:
    found = primary.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'")
    return found.split()


def back_up(pooler: Pooler, primary: EmbeddedPostgres, where: Path) -> str:
    """What pg_basebackup complains of."""
    options = ("-X", "stream", "--checkpoint=fast", "--no-sync")
    command = [str(primary.tool("pg_basebackup")), "-d", pooler.dsn(), "-D", str(where), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stderr if done.returncode else ""


def last_words(cursor: Any) -> str:
    """What has ended the stream, if it has ended."""
    try:
        cursor.read_message()
    except psycopg2.Error as error:
        return str(error)
    return ""


def test_two_backups_at_a_time_fit_into_four_places(
    pooler: MakePooler, primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    # Else the checkpoint of one may remove what the other has not fetched yet.
    primary.psql("ALTER SYSTEM SET wal_keep_size = '256MB'")
    primary.psql("SELECT pg_reload_conf()")
    own = pooler(postgres=primary, settings={"default_pool_size": 4})
    with ThreadPoolExecutor(2) as threads:
        begun = [threads.submit(back_up, own, primary, tmp_path / name) for name in "ab"]
        assert [each.result() for each in begun] == ["", ""]
    wait_until(lambda: not walsenders(primary))


def test_two_that_wait_for_each_others_places_are_told_so(
    pooler: MakePooler, primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    settings = {"default_pool_size": 2, "query_wait_timeout": 2}
    own = pooler(postgres=primary, settings=settings)
    with ThreadPoolExecutor(2) as threads:
        begun = [threads.submit(back_up, own, primary, tmp_path / name) for name in "ab"]
        failed = [each.result() for each in begun if each.result()]
    assert all("query_wait_timeout" in error for error in failed)
    wait_until(lambda: not walsenders(primary))
    assert back_up(own, primary, tmp_path / "c") == ""


def test_a_terminated_walsender_takes_its_client_along(
    pgmux: Pooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    cursor = start(replicate(pgmux, LOGICAL), "terminated")
    for pid in walsenders(primary):
        primary.psql(f"SELECT pg_terminate_backend({pid})")
    told = wait_until(lambda: last_words(cursor))
    assert "terminating connection due to administrator command" in told
    wait_until(lambda: not walsenders(primary))


def test_a_slot_in_use_is_refused_and_the_connection_goes_on(
    pgmux: Pooler, replicate: OpenReplication
) -> None:
    start(replicate(pgmux, LOGICAL), "taken")
    second = replicate(pgmux, LOGICAL)
    cursor = second.cursor()
    with pytest.raises(psycopg2.Error, match="is active for PID"):
        cursor.start_replication(slot_name="taken", decode=True)
    cursor.execute("IDENTIFY_SYSTEM")
    assert cursor.fetchone()[3] == "postgres"


def test_a_client_that_is_killed_while_it_streams_leaves_no_walsender(
    pgmux: Pooler, primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    tool = str(primary.tool("pg_recvlogical"))
    where = ("-d", pgmux.dsn(), "-S", "killed")
    subprocess.run([tool, *where, "--create-slot", "-P", "test_decoding"], check=True)
    client = subprocess.Popen([tool, *where, "--start", "-f", str(tmp_path / "changes")])
    try:
        wait_until(lambda: walsenders(primary))
    finally:
        client.kill()
        client.wait()
    # The default wal_sender_timeout, 60 s, would be too late.
    wait_until(lambda: not walsenders(primary))
    subprocess.run([tool, *where, "--drop-slot"], check=True)


def test_a_reload_without_its_database_ends_it(
    pooler: MakePooler, primary: EmbeddedPostgres, replicate: OpenReplication
) -> None:
    own = pooler(postgres=primary, databases={"postgres": "", "other": ""})
    cursor = start(replicate(own, LOGICAL), "removed")
    del own.databases["postgres"]
    own.reload()
    wait_until(lambda: not walsenders(primary))
    assert "database removed" in wait_until(lambda: last_words(cursor))
