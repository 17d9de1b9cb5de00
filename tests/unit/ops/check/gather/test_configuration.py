"""Of the configuration and the files of access: what is broken, and what isn't to be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pgmux.config import load_config
from pgmux.config.model import Config
from pgmux.monitor.console import ConsoleGone
from pgmux.ops.check.evidence import Evidence, Unread
from pgmux.ops.check.gather import configuration
from pgmux.ops.check.gather.console import _gone as console_gone
from pgmux.ops.check.judge import Finding, judge
from pgmux.ops.check.rules.roles import broken_files
from pgmux.ops.severity import Severity

INI = """[databases]
* =
[pgbouncer]
auth_type = hba
auth_file = userlist.txt
auth_hba_file = hba
"""
HBA = "host all all 10.0.0.0/8 md5\n"


def config_of(userlist: str | OSError, hba: str | OSError = HBA) -> Config:
    texts: dict[str, str | OSError] = {"p.ini": INI, "userlist.txt": userlist, "hba": hba}

    def read(path: str) -> str:
        found = texts[path]
        if isinstance(found, OSError):
            raise found
        return found

    return load_config("p.ini", read)


def broken(config: Config) -> tuple[Finding, ...]:
    return judge(Evidence("p.ini", config=config), [broken_files]).findings


def no_access(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("missing", ["userlist", "hba"])
def test_a_file_of_access_that_does_not_exist_is_an_error(missing: str) -> None:
    gone = no_access(errno.ENOENT)
    config = config_of(gone) if missing == "userlist" else config_of("", gone)
    found = broken(config)
    assert found[0].severity is Severity.ERROR
    assert found[0].where == ("userlist.txt" if missing == "userlist" else "hba")
    assert "No such file" in found[0].evidence
    assert configuration.unread_of(config) == []


def test_a_file_of_access_that_we_may_not_read_was_not_looked_at() -> None:
    config = config_of(no_access(errno.EACCES))
    assert broken(config) == ()
    (unread,) = configuration.unread_of(config)
    assert "auth_file userlist.txt: Permission denied" in unread.reason
    assert unread.advice == "run as whom may read it"


def test_lines_of_the_hba_file_that_are_skipped_are_told_with_their_places() -> None:
    found = broken(config_of("", HBA + "hostt all all all md5\nhost all all 10.0.0.0/99 reject\n"))
    assert [(each.where, each.severity) for each in found] == [
        ("hba:3", Severity.ERROR),  # it was to keep somebody out
        ("hba:2", Severity.WARNING),
    ]


def test_a_configuration_that_is_not_there_asks_for_its_name(tmp_path: Path) -> None:
    found = configuration.gather(str(tmp_path / "nope.ini"))
    assert isinstance(found, Unread)
    assert "pgmux check FILE" in found.advice


@pytest.mark.parametrize(
    "more",
    [
        "",
        " Multiple connection attempts failed. All failures were: - host: 'localhost' (again)",
    ],
)
def test_a_console_that_is_not_there_is_told_in_one_line(more: str) -> None:
    libpq = (
        "connection failed: Connection refused Is the server running on that host and accepting"
        f" TCP/IP connections?{more} (is the pooler running there?)"
    )
    told = console_gone(ConsoleGone(libpq))
    assert told.reason == "connection failed: Connection refused (is the pooler running there?)"
