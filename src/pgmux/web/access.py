"""Who may ask, and what every answer says about itself. For all routes.

A browser on this machine, or on one that reaches us, shows pages of strangers: they must neither
read what we serve nor send commands. So the Host must be one that no stranger's name can stand for
(DNS rebinding): an address, a name without a dot, or one of --allowed-host; and a request with an
Origin must come from a page of our own. Bodies are read here, in a bounded time.
"""

from __future__ import annotations

import asyncio
import ipaddress

from aiohttp import web
from aiohttp.typedefs import Handler

from pgmux.web.keys import OPTIONS

BODY_TIMEOUT = 5.0  # seconds
ANY_HOST = "*"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SAFE_METHODS = ("GET", "HEAD")


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 for a Host or an Origin that isn't ours, 408 for a body that doesn't come."""
    host = request.headers.get("Host", "")
    allowed = request.app[OPTIONS].allowed_hosts
    if not is_host_allowed(host, allowed):
        return refuse(f"Host {host_name(host)!r} isn't one of ours: --allowed-host adds it")
    if not is_same_origin(request):
        return refuse("the request comes from a page of another origin")
    if request.can_read_body:
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                await request.read()
        except TimeoutError:
            return web.Response(status=408, text="the body has not come in time\n")
    return await handler(request)


def refuse(why: str) -> web.Response:
    """403, and why."""
    return web.Response(status=403, text=f"{why}\n")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal on_response_prepare: what every answer has, unless its handler has set it."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "pgmux"


def host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name = host
    return name.strip("[]").rstrip(".").lower()


def is_host_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Whether a request to that Host can't be a browser's that was led here by a foreign name.

    No Host at all is a prober's: every browser sends one.
    """
    name = host_name(host)
    if not host or ANY_HOST in allowed or name in allowed:
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
        return True
    except ValueError:
        return "." not in name or name.endswith(".localhost")


def is_same_origin(request: web.Request) -> bool:
    """Whether the request has come from our own page, or from no page at all."""
    origin = request.headers.get("Origin")
    if origin is not None:
        # Not the scheme: in front of us may be somebody who adds TLS.
        return origin.partition("://")[2].lower() == request.headers.get("Host", "").lower()
    site = request.headers.get("Sec-Fetch-Site", "none")
    return request.method in _SAFE_METHODS or site in ("none", "same-origin")
