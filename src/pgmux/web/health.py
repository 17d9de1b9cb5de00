"""/healthz: this process answers. /readyz: the pooler can do its work, and why not."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from pgmux.web.keys import CONSOLE
from pgmux.web.once import Once
from pgmux.web.readiness import Readiness, read_readiness

READY_TIMEOUT = 3.0  # seconds
_YES = ("1", "true", "yes", "on", "")

READINESS = web.AppKey("readiness", Once[Readiness])


def add_routes(app: web.Application) -> None:
    app[READINESS] = Once(lambda: read_readiness(app[CONSOLE]))
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)


async def healthz(request: web.Request) -> web.Response:
    """200, whatever the pooler does: who asks would restart this process, not the pooler."""
    return web.json_response({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """200 or 503. `?strict=1`: no check may fail; `?database=x`: that one alone."""
    try:
        readiness = await request.app[READINESS].get(READY_TIMEOUT)
    except TimeoutError:
        place = request.app[CONSOLE].place
        readiness = Readiness(
            reason=f"the console at {place} has not answered within {READY_TIMEOUT:g} s"
        )
    is_strict = request.query.get("strict", "0").lower() in _YES
    reason = readiness.why_not(strict=is_strict, database=request.query.get("database"))
    body = {
        "ready": not reason,
        "reason": reason,
        "checks": [asdict(check) for check in readiness.checks],
    }
    return web.json_response(body, status=503 if reason else 200)
