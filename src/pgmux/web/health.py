"""/healthz: this process answers."""

from __future__ import annotations

from aiohttp import web


def add_routes(app: web.Application) -> None:
    app.router.add_get("/healthz", healthz)


async def healthz(request: web.Request) -> web.Response:
    """200, whatever the pooler does: who asks would restart this process, not the pooler."""
    return web.json_response({"status": "alive"})
