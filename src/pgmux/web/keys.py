"""What the handlers of the application share, by its key in it."""

from __future__ import annotations

from aiohttp import web

from pgmux.monitor.console import Console
from pgmux.web.options import Options

CONSOLE = web.AppKey("console", Console)
OPTIONS = web.AppKey("options", Options)
