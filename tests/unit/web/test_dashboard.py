"""The page and its stream, without a browser."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pgmux.web import dashboard
from pgmux.web.dashboard import MAX_STREAMS, STATIC
from pgmux.web.feed import CALM_INTERVAL, find_spacing
from tests.unit.web.conftest import Browser, CommandedConsole, visit

UPLOT = STATIC / "vendor/uplot"


def test_vendored_files_are_those_of_the_package() -> None:
    listed = re.findall(
        r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (UPLOT / "README.md").read_text(), re.M
    )
    assert {name for name, _ in listed} == {
        path.name for path in UPLOT.iterdir() if path.name != "README.md"
    }
    for name, digest in listed:
        assert hashlib.sha256((UPLOT / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("path", [p for p in STATIC.glob("*.*") if p.suffix != ".svg"], ids=str)
def test_our_files_name_no_other_site_and_put_no_markup_in(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"<script>|<style|style=| on[a-z]+=", text)


def test_the_page_and_all_that_it_names_are_served_and_allow_nothing_from_elsewhere(
    console: CommandedConsole,
) -> None:
    async def look(browser: Browser) -> None:
        page = await browser.get("/")
        assert (page.status, page.content_type) == (200, "text/html")
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        named = re.findall(r'(?:src|href)="(static/[^"]+)"', await page.text())
        assert len(named) >= 6
        for name in named:
            served = await browser.get(f"/{name}")
            assert served.status == 200, name
            assert served.headers["X-Content-Type-Options"] == "nosniff"
        modules = re.findall(r'from "\./([a-z]+\.js)"', (STATIC / "dashboard.js").read_text())
        for name in modules:
            assert (await browser.get(f"/static/{name}")).content_type.endswith("javascript")

    visit(console, look)


@pytest.mark.parametrize("path", ["/static/../view.py", "/static/%2e%2e/view.py", "/static/none"])
def test_nothing_else_is_served(console: CommandedConsole, path: str) -> None:
    async def look(browser: Browser) -> None:
        assert (await browser.get(path)).status in (403, 404)

    visit(console, look)


async def next_event(stream: Any) -> tuple[str, Any]:
    """The next event's name and its JSON."""
    line = await stream.content.readline()
    if line.startswith(b"retry:"):
        assert await stream.content.readline() == b"\n"
        line = await stream.content.readline()
    name = line.decode().removeprefix("event: ").strip()
    data = (await stream.content.readline()).decode().removeprefix("data: ")
    assert await stream.content.readline() == b"\n"
    return name, json.loads(data)


def test_the_stream_begins_with_the_history_and_goes_on_with_samples(
    console: CommandedConsole,
) -> None:
    async def look(browser: Browser) -> None:
        async with browser.get("/api/live") as stream:
            assert stream.content_type == "text/event-stream"
            name, history = await next_event(stream)
            assert name == "history"
            assert set(history) == {"t", "xacts", "p50", "p99", "mean"}
            name, sample = await next_event(stream)
            assert (name, sample["gone"], sample["is_pgmux"]) == ("sample", None, True)
            assert sample["place"] == "test:6432"
            assert sample["actions"] == []
            assert "--token-file" in sample["action_hint"]

    visit(console, look)


def test_the_stream_tells_the_pools_that_are_looked_for(console: CommandedConsole) -> None:
    async def look(browser: Browser) -> None:
        for text, found in (("APP", 1), ("nobody", 0)):
            async with browser.get("/api/live", params={"filter": text}) as stream:
                await next_event(stream)
                _, sample = await next_event(stream)
                assert (sample["pools"]["matching"], sample["pools"]["all"]) == (found, 1)

    visit(console, look)


def test_a_console_that_is_gone_is_told_with_the_reason_and_comes_back(
    console: CommandedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "INTERVAL", 0.01)
    console.gone = "test:6432: connection refused"

    async def look(browser: Browser) -> None:
        async with browser.get("/api/live") as stream:
            await next_event(stream)
            _, sample = await next_event(stream)
            assert sample["gone"] == "test:6432: connection refused"
            assert "pools" not in sample
            console.gone = None
            while sample["gone"] is not None:
                _, sample = await next_event(stream)
            assert sample["pools"]["all"] == 1

    visit(console, look)


def test_a_console_that_answers_nonsense_is_told_as_gone(console: CommandedConsole) -> None:
    console.answers["POOLS"] = [{"database": "app"}]

    async def look(browser: Browser) -> None:
        async with browser.get("/api/live") as stream:
            await next_event(stream)
            _, sample = await next_event(stream)
            assert "SHOW POOLS" in sample["gone"]

    visit(console, look)


def test_names_pass_as_they_are_and_never_end_an_event(console: CommandedConsole) -> None:
    name = 'a\n\ndata: x\r\n<script>"\\\u2028\u202e'
    console.answers["APPS"] = [row | {"application_name": name} for row in console.answers["APPS"]]
    console.answers["POOLS"] = [row | {"database": name} for row in console.answers["POOLS"]]

    async def look(browser: Browser) -> None:
        async with browser.get("/api/live") as stream:
            await next_event(stream)
            _, sample = await next_event(stream)
            assert sample["pools"]["rows"][0]["database"] == name

    visit(console, look)


def test_what_is_asked_for_and_how_many_ask_is_bounded(console: CommandedConsole) -> None:
    async def look(browser: Browser) -> None:
        assert (await browser.get("/api/live", params={"filter": "x" * 201})).status == 400
        streams = [await browser.get("/api/live") for _ in range(MAX_STREAMS)]
        assert (await browser.get("/api/live")).status == 503
        for stream in streams:
            stream.close()

    visit(console, look)


def test_a_slow_console_is_asked_seldom_and_one_that_keeps_silent_soon_again() -> None:
    assert find_spacing(2.0, 0.1, is_gone=False) == 2.0
    assert find_spacing(2.0, 3.0, is_gone=False) > 20.0
    assert find_spacing(2.0, 5.0, is_gone=True) == CALM_INTERVAL
