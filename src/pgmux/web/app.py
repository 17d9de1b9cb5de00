"""The application: what is served, and what stands before all of it.

Each part has an `add_routes(app)`; what the parts share is in `keys`.
"""

from __future__ import annotations

from aiohttp import web

from pgmux.monitor.console import Console
from pgmux.web import actions, dashboard, exposition, health
from pgmux.web.access import add_headers, check_access
from pgmux.web.keys import CONSOLE, OPTIONS
from pgmux.web.options import Options

MAX_BODY = 1 << 16  # bytes
PARTS = (health, exposition, dashboard, actions)


def make_app(console: Console, options: Options) -> web.Application:
    """The application over a console that it doesn't close."""
    app = web.Application(middlewares=[check_access], client_max_size=MAX_BODY)
    app[CONSOLE] = console
    app[OPTIONS] = options
    app.on_response_prepare.append(add_headers)
    for part in PARTS:
        part.add_routes(app)
    return app
