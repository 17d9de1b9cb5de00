"""Which programs are measured, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import BenchError, programs
from bench.programs import find_programs


def fake(directory: Path, version: str) -> str:
    """A program that answers this to -V."""
    directory.mkdir(exist_ok=True)
    path = directory / "pgbouncer"
    path.write_text(f"#!/bin/sh\n[ $1 = -V ] && printf '{version}'\n")
    path.chmod(0o755)
    return str(path)


def pgbouncer(directory: Path, version: str) -> str:
    return fake(directory, f"PgBouncer {version}\\nlibevent 2.1.12-stable\\n")


def names(yardstick: str, *, with_second: bool = True) -> list[str]:
    found = find_programs(yardstick, ["pure"], with_second=with_second)
    return [program.name for program in found]


@pytest.fixture
def debians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Debian's would be."""
    monkeypatch.setattr(programs, "DEBIANS", str(tmp_path / "debian" / "pgbouncer"))
    return tmp_path / "debian"


def test_debians_is_the_second_column(tmp_path: Path, debians: Path) -> None:
    yardstick = pgbouncer(tmp_path / "own", "1.25.2")
    assert names(yardstick) == ["PgBouncer 1.25.2", "pgmux pure"]
    pgbouncer(debians, "1.18.0")
    assert names(yardstick) == ["PgBouncer 1.25.2", "PgBouncer 1.18.0", "pgmux pure"]
    assert names(yardstick, with_second=False) == ["PgBouncer 1.25.2", "pgmux pure"]


def test_debians_is_no_second_column_of_itself(debians: Path) -> None:
    assert names(pgbouncer(debians, "1.18.0")) == ["PgBouncer 1.18.0", "pgmux pure"]


def test_a_drop_in_in_debians_place_is_left_out(tmp_path: Path, debians: Path) -> None:
    yardstick = pgbouncer(tmp_path / "own", "1.25.2")
    fake(debians, "PgBouncer 1.25.2\\npgmux 1.0 (compiled)\\n")
    assert names(yardstick) == ["PgBouncer 1.25.2", "pgmux pure"]


def test_only_pgbouncer_of_1_21_and_later_has_prepared_statements(
    tmp_path: Path, debians: Path
) -> None:
    yardstick = pgbouncer(tmp_path / "own", "1.21.0")
    pgbouncer(debians, "1.18.0")
    found = find_programs(yardstick, ["pure"], with_second=True)
    assert [program.has_prepared for program in found] == [True, False, True]


def test_a_drop_in_of_our_own_is_no_yardstick(tmp_path: Path) -> None:
    path = fake(tmp_path, "PgBouncer 1.25.2\\npgmux 1.0 (compiled)\\n")
    with pytest.raises(BenchError, match="pgmux's drop-in"):
        names(path)


def test_what_is_no_pgbouncer_is_no_yardstick(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="isn't PgBouncer"):
        names(fake(tmp_path, "nginx 1.2.3\\n"))
    with pytest.raises(BenchError, match="there is no such program"):
        names(str(tmp_path / "nothing"))
