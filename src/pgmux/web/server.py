"""The process: listens, serves, and ends on SIGTERM, SIGINT or when its pooler has ended.

Errors: OSError where the address can't be listened at.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.typedefs import Handler

from pgmux.monitor.by_descriptor import DescriptorConsole
from pgmux.monitor.console import Console, ConsoleGone, inherited_console, open_console
from pgmux.web.app import make_app
from pgmux.web.door import Door
from pgmux.web.options import Options
from pgmux.web.reported import ReportedConsole

log = logging.getLogger("pgmux.web")

MAX_LINE = 1 << 13  # bytes of a request's first line, or of a header
MAX_HEADERS = 64
KEEPALIVE = 75.0  # seconds: longer than the usual time between two scrapes
END_TIMEOUT = 1.0  # seconds for requests under way


async def serve(options: Options) -> None:
    """Serves until a signal, or the end of the pooler whose socket this process has inherited.

    Raises: OSError, ConninfoError.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    async with AsyncExitStack() as stack:
        console = make_console(options)
        stack.push_async_callback(console.close)
        reported = ReportedConsole(console)
        await listen(stack, make_app(reported, options), options)
        watch = [asyncio.create_task(reported.watch())]
        if isinstance(console, DescriptorConsole):
            watch.append(asyncio.create_task(end_with(console, ended)))
        for task in watch:
            stack.callback(task.cancel)
        await ended.wait()


def make_console(options: Options) -> Console:
    """The console that the options name. Raises: ConninfoError."""
    if options.console_fd is not None:
        return inherited_console(options.console_fd)
    assert options.console is not None
    return open_console(options.console)


async def end_with(console: DescriptorConsole, ended: asyncio.Event) -> None:
    """Sets `ended` when the pooler has closed its end."""
    try:
        await console.wait_ended()
        log.info("the pooler has ended the connection")
    except ConsoleGone as error:
        log.error("%s", error)
    ended.set()


async def listen(stack: AsyncExitStack, app: web.Application, options: Options) -> None:
    """Serves until the stack ends. Raises: OSError."""

    @web.middleware
    async def tell_door(request: web.Request, handler: Handler) -> web.StreamResponse:
        door.on_request(request.protocol)
        return await handler(request)

    app.middlewares.insert(0, tell_door)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,  # a client that has left wants no answer
        keepalive_timeout=KEEPALIVE,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        max_headers=MAX_HEADERS,
        shutdown_timeout=END_TIMEOUT,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    door = Door(runner.server)
    address = options.listen
    server = await asyncio.get_running_loop().create_server(door, address.host, address.port)
    stack.callback(server.close)
    for listener in server.sockets:
        host, port = listener.getsockname()[:2]
        log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
