"""The page at /, and its stream at /api/live: a `history` event, then a `sample` event each time.

    GET /api/live?filter=TEXT&database=NAME&user=NAME

`filter` is for the list of pools; with `database` and `user` the charts are that pool's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from pgmux.web.actions import hint, ways
from pgmux.web.feed import INTERVAL, Feed
from pgmux.web.history import Key
from pgmux.web.keys import CONSOLE, OPTIONS
from pgmux.web.view import Json

MAX_STREAMS = 40  # the connections are for others too
MAX_TEXT = 200  # characters of what is asked for
KEEPALIVE = 15.0  # seconds without an event, after which a proxy might think it dead
FEED = web.AppKey("feed", Feed)
STATIC = Path(__file__).with_name("static")
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx
}


def add_routes(app: web.Application) -> None:
    app.router.add_get("/", page)
    app.router.add_static("/static", STATIC)
    app.router.add_get("/api/live", live)
    app.cleanup_ctx.append(run_feed)
    app.on_shutdown.append(close_feed)


async def run_feed(app: web.Application) -> AsyncIterator[None]:
    """The feed, for as long as the application runs."""
    app[FEED] = feed = Feed(app[CONSOLE], INTERVAL)
    task = asyncio.create_task(feed.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def close_feed(app: web.Application) -> None:
    """Ends the streams, for which the server would wait."""
    await app[FEED].close()


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


async def live(request: web.Request) -> web.StreamResponse:
    """The stream, until the page or the process goes."""
    feed = request.app[FEED]
    asked = [request.query.get(name, "") for name in ("filter", "database", "user")]
    if any(len(each) > MAX_TEXT for each in asked):
        return web.Response(status=400, text=f"at most {MAX_TEXT} characters each\n")
    if feed.watchers >= MAX_STREAMS:
        return web.Response(status=503, text="too many pages are open\n")
    text, *names = asked
    key = (names[0], names[1]) if any(names) else None
    response = web.StreamResponse(headers=_STREAM_HEADERS)
    with feed.watch(key):
        await response.prepare(request)
        with suppress(ConnectionResetError):
            await _stream(response, feed, key, text, about(request))
    return response


def about(request: web.Request) -> Json:
    """What the page wants to know besides the sample."""
    options = request.app[OPTIONS]
    return {
        "place": request.app[CONSOLE].place if options.console_fd is None else "",
        "actions": ways(options),
        "action_hint": hint(options),
    }


async def _stream(
    response: web.StreamResponse, feed: Feed, key: Key | None, text: str, more: Json
) -> None:
    await response.write(b"retry: 1000\n\n")  # ms until the browser joins again
    await response.write(_event("history", feed.history_text(key)))
    seen = 0
    while not feed.is_closed:
        try:
            async with asyncio.timeout(KEEPALIVE):
                seen = await feed.wait(seen)
        except TimeoutError:
            await response.write(b":\n\n")
            continue
        await response.write(_event("sample", feed.sample_text(key, text, more)))


def _event(name: str, data: str) -> bytes:
    """JSON has no line ends, so it is one line of data."""
    return f"event: {name}\ndata: {data}\n\n".encode()
