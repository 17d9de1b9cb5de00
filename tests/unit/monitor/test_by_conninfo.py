"""How a console's place is read, and what is said where there is none."""

from __future__ import annotations

import asyncio

import pytest

from pgmux.monitor.by_conninfo import find_place, read_conninfo
from pgmux.monitor.console import ConninfoError, ConsoleGone, ConsoleRefused, open_console
from pgmux.ops.postgres import find_free_port


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGSERVICE", "PGCONNECT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def test_the_database_is_the_console_unless_another_is_named() -> None:
    assert read_conninfo("host=db1")["dbname"] == "pgbouncer"
    assert read_conninfo("postgresql://db1/other")["dbname"] == "other"
    assert "dbname" not in read_conninfo("service=pool")


@pytest.mark.parametrize(
    ("conninfo", "place"),
    [
        ("host=db1 port=6432", "db1:6432"),
        ("postgresql://stats:pw@db1:6432/pgbouncer", "db1:6432"),
        ("host=/run/pgbouncer port=6432", "/run/pgbouncer:6432"),
        ("service=pool", "service pool"),
    ],
)
def test_the_place_has_host_and_port_and_no_password(conninfo: str, place: str) -> None:
    assert find_place(read_conninfo(conninfo)) == place


def test_what_is_no_connection_string_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConninfoError, match="dbname=pgbouncer") as caught:
        open_console("host=db1 pass word=sekrit")
    assert "sekrit" not in str(caught.value) and "word" not in str(caught.value).split("pass")[0]


def test_what_is_no_utf8_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConninfoError, match="dbname=pgbouncer") as caught:
        open_console("postgresql://u:sekrit%de@db1")
    assert "sekrit" not in str(caught.value)


def test_where_nobody_listens_the_error_says_where_and_what_to_do() -> None:
    port = find_free_port()

    async def run() -> None:
        console = open_console(f"host=127.0.0.1 port={port} user=x password=sekrit")
        for _ in range(2):  # the second is told without another attempt, or after one: the same
            with pytest.raises(ConsoleGone) as caught:
                await console.query("SHOW VERSION")
            text = str(caught.value)
            assert f"127.0.0.1:{port}" in text and "is the pooler running there?" in text
            assert "sekrit" not in text and "\n" not in text
        await console.close()

    asyncio.run(run())


def test_a_token_is_refused_where_nobody_would_check_it() -> None:
    async def run() -> None:
        with pytest.raises(ConsoleRefused, match="takes no token"):
            await open_console("host=x").execute("PAUSE", token="t")

    asyncio.run(run())


LOGGED_IN = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x22server_version\x001.25.2/bouncer\0Z\0\0\0\x05I"
COPY_IN = b"G\0\0\0\x07\0\0\0Z\0\0\0\x05I"
GARBAGE = b"\x1b]0;title\x07\n\x1b[31m" * 9


@pytest.mark.parametrize("answer", [COPY_IN, GARBAGE])
def test_after_nonsense_there_is_one_printable_line_and_a_new_connection(answer: bytes) -> None:
    logins = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal logins
        while data := await reader.read(4096):
            is_query = data.startswith(b"Q")
            is_startup = not is_query and b"user\0" in data
            logins += is_startup
            writer.write(answer if is_query else LOGGED_IN if is_startup else b"N")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        console = open_console(f"host=127.0.0.1 port={port} user=x gssencmode=disable")
        for _ in range(2):
            with pytest.raises(ConsoleGone) as caught:
                await console.query("SHOW VERSION")
            assert str(caught.value).isprintable()
        assert logins == 2
        await console.close()
        server.close()

    asyncio.run(run())
