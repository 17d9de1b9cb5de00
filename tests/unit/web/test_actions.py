"""Commands by HTTP: who may, what becomes of them, and what is told to whom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgmux.daemon.token_file import TokenFileError
from pgmux.monitor.console import ConninfoError, ConsoleGone, ConsoleRefused
from pgmux.web import actions
from pgmux.web.attempts import PER_ADDRESS
from pgmux.web.proofs import NotProved, as_user, read_basic
from tests.unit.web.conftest import TOKEN, Browser, CommandedConsole, basic, bearer, visit

PAUSE = {"action": "pause", "database": 'a"; KILL x'}
SQL = 'PAUSE "a""; KILL x"'


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


async def post(browser: Browser, headers: dict[str, str], asked: Any = PAUSE) -> tuple[int, str]:
    """HTTP's status and the message."""
    answer = await browser.post("/api/actions", json=asked, headers=headers)
    return answer.status, (await answer.json())["message"]


def test_without_a_token_or_password_there_are_no_commands(console: CommandedConsole) -> None:
    async def look(browser: Browser) -> None:
        status, message = await post(browser, bearer())
        assert (status, "--token-file" in message) == (404, True)

    visit(console, look)
    assert console.told == []


def test_with_the_token_a_command_is_carried_out_and_logged(
    console: CommandedConsole, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def look(browser: Browser) -> None:
        assert await post(browser, bearer()) == (200, f"{SQL}: done.")

    with caplog.at_level(logging.INFO):
        visit(console, look, token_file=token_file)
    assert console.told == [SQL]
    assert f"{SQL} by the token from 127.0.0.1: {SQL}: done." in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": TOKEN}),
        *(bearer("wrong"), bearer(TOKEN[:-1]), bearer(TOKEN + "x"), bearer("\xfc")),
        *(basic("postgres", TOKEN), {"Authorization": f"Negotiate {TOKEN}"}),
    ],
)
def test_without_the_right_token_nothing_is_done_and_nothing_told(
    console: CommandedConsole, token_file: Path, headers: dict[str, str]
) -> None:
    async def look(browser: Browser) -> None:
        status, message = await post(browser, headers)
        assert status == 401
        assert message in (actions.NOT_ACCEPTED, "A token or a password is needed.")

    visit(console, look, token_file=token_file)
    assert console.told == []


def test_after_too_many_wrong_tokens_the_right_one_is_not_listened_to_either(
    console: CommandedConsole, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def look(browser: Browser) -> None:
        wrong = [await post(browser, bearer("wrong")) for _ in range(PER_ADDRESS)]
        assert {status for status, _ in wrong} == {401}
        answer = await browser.post("/api/actions", json=PAUSE, headers=bearer())
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        for _ in range(100):
            assert (await post(browser, bearer("wrong")))[0] == 429
        assert len([line for line in caplog.messages if "too many failures" in line]) == 1
        assert (await browser.get("/")).status == 200

    visit(console, look, token_file=token_file)
    assert console.told == []


def test_what_is_no_command_is_no_failure(console: CommandedConsole, token_file: Path) -> None:
    async def look(browser: Browser) -> None:
        for _ in range(2 * PER_ADDRESS):
            assert (await post(browser, bearer(), {"action": "shutdown"}))[0] == 400
            assert (await post(browser, {}))[0] == 401
        deep = "[" * 50_000
        headers = bearer() | {"Content-Type": "application/json"}
        for body in (b"", b"{", b"\xff", deep.encode(), b"[]"):
            answer = await browser.post("/api/actions", data=body, headers=headers)
            assert answer.status == 400
        assert (await post(browser, bearer()))[0] == 200

    visit(console, look, token_file=token_file)


def test_a_form_of_a_strangers_page_is_refused(console: CommandedConsole, token_file: Path) -> None:
    async def look(browser: Browser) -> None:
        url, body = "/api/actions", b'{"action": "pause"}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = await browser.post(url, data=body, headers=bearer() | {"Content-Type": kind})
            assert answer.status == 415
        for name, value in (("Origin", "http://evil.example"), ("Host", "evil.example")):
            answer = await browser.post(url, json=PAUSE, headers=bearer() | {name: value})
            assert answer.status == 403
        assert (await browser.get(url, headers=bearer())).status == 405

    visit(console, look, token_file=token_file)
    assert console.told == []


def test_what_the_console_refuses_is_told(console: CommandedConsole, token_file: Path) -> None:
    console.error = ConsoleRefused("no such database: nowhere", "08P01")

    async def look(browser: Browser) -> None:
        for _ in range(2 * PER_ADDRESS):  # no failure of whoever asks
            status, message = await post(browser, bearer())
            assert (status, message) == (409, "The console refuses: no such database: nowhere")

    visit(console, look, token_file=token_file)


def test_a_console_that_is_gone_tells_nothing_about_the_token(
    console: CommandedConsole, token_file: Path
) -> None:
    console.error = ConsoleGone("no connection")

    async def look(browser: Browser) -> None:
        for _ in range(2 * PER_ADDRESS):
            assert (await post(browser, bearer()))[0] == 502

    visit(console, look, token_file=token_file)


def test_the_pooler_judges_its_token(
    console: CommandedConsole, caplog: pytest.LogCaptureFixture
) -> None:
    console.pooler_token = TOKEN

    async def look(browser: Browser) -> None:
        assert await post(browser, bearer("wrong")) == (401, actions.NOT_ACCEPTED)
        assert (await post(browser, bearer()))[0] == 200

    visit(console, look, console_fd=3, token_from_pooler=True)
    assert console.told == [SQL]
    (line,) = [each for each in caplog.messages if "somebody" in each]
    assert line.endswith(f"{actions.NOT_ACCEPTED} wrong token"), "the log says why"


def test_a_pause_that_waits_is_answered_for_the_time_being_and_goes_on(
    console: CommandedConsole,
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(actions, "PATIENCE", 0.01)

    async def look(browser: Browser) -> None:
        console.may_end.clear()
        assert await post(browser, bearer()) == (202, f"{SQL} has begun; not done yet.")
        assert "done." not in caplog.text
        console.may_end.set()
        (under_way,) = browser.app[actions.ACTIONS].under_way
        await under_way

    with caplog.at_level(logging.INFO):
        visit(console, look, token_file=token_file)
    assert f"{SQL}: done." in caplog.text


def test_commands_that_wait_are_bounded(
    console: CommandedConsole, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "PATIENCE", 0.001)
    monkeypatch.setattr(actions, "MAX_UNDER_WAY", 2)

    async def look(browser: Browser) -> None:
        console.may_end.clear()
        statuses = [(await post(browser, bearer()))[0] for _ in range(3)]
        assert statuses == [202, 202, 503]
        console.may_end.set()

    visit(console, look, token_file=token_file)


def test_a_line_of_the_log_is_one_line(
    console: CommandedConsole, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def look(browser: Browser) -> None:
        await post(browser, bearer(), {"action": "pause", "database": "x\nroot: all is well\x1b"})

    with caplog.at_level(logging.INFO, "pgmux.web"):
        visit(console, look, token_file=token_file)
    (line,) = [each for each in caplog.messages if "PAUSE" in each]
    assert line.isprintable()


def test_a_token_file_that_others_may_read_or_a_bad_address_is_refused_at_start(
    console: CommandedConsole, token_file: Path
) -> None:
    async def look(browser: Browser) -> None:
        raise AssertionError("it runs")

    token_file.chmod(0o644)
    with pytest.raises(TokenFileError, match="chmod 600"):
        visit(console, look, token_file=token_file)
    with pytest.raises(ConninfoError):
        visit(console, look, admin_console="what is this")


def test_basic_authentication_needs_a_user_and_a_password() -> None:
    header = basic("admin", "p:w ü")["Authorization"]
    assert read_basic(header.removeprefix("Basic ")) == ("admin", "p:w ü")
    for user, password in (("", "pw"), ("admin", ""), ("ad\0min", "pw"), ("admin", "p\0")):
        with pytest.raises(NotProved):
            read_basic(basic(user, password)["Authorization"].removeprefix("Basic "))
    for text in ("", "!", "YQ", "/w=="):
        with pytest.raises(NotProved):
            read_basic(text)


def test_a_browsers_user_cannot_change_where_or_how_it_is_logged_in() -> None:
    conninfo = as_user("host=db1 port=6432 user=stats password=own", "x' host=evil", "p' w\\")
    assert conninfo_to_dict(conninfo) == {
        "host": "db1",
        "port": "6432",
        "user": "x' host=evil",
        "password": "p' w\\",
        "require_auth": "password,md5,scram-sha-256",
    }
