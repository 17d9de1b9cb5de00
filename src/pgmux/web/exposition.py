"""/metrics: one reading of the console for all who scrape at the same time.

Status 200 also where the console can't be reached: `pgbouncer_up` is 0 then.
"""

from __future__ import annotations

import gzip
from itertools import chain

from aiohttp import web
from prometheus_client.exposition import choose_encoder, gzip_accepted

from pgmux.web.keys import CONSOLE
from pgmux.web.metrics.own import own_families
from pgmux.web.metrics.pgbouncer import pgbouncer_families
from pgmux.web.metrics.scrape import Scrape, read
from pgmux.web.metrics.text import write
from pgmux.web.once import Once

SCRAPE_TIMEOUT = 8.0  # seconds; Prometheus gives up after 10 unless it says otherwise
_ITS_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"
_OPENMETRICS = "application/openmetrics-text"
_GZIP_LEVEL = 1  # a ninth of the size, for the least time


class Exposition:
    """A reading and what has been written of it already, for its formats."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape
        self._written: dict[tuple[bool, bool], bytes] = {}

    def body(self, *, openmetrics: bool, zipped: bool) -> bytes:
        """The body of an answer."""
        key = openmetrics, zipped
        if key not in self._written:
            if zipped:
                body = self.body(openmetrics=openmetrics, zipped=False)
                self._written[key] = gzip.compress(body, _GZIP_LEVEL)
            else:
                families = chain(pgbouncer_families(self._scrape), own_families(self._scrape))
                self._written[key] = write(families, openmetrics=openmetrics)
        return self._written[key]


EXPOSITIONS = web.AppKey("expositions", Once[Exposition])


def add_routes(app: web.Application) -> None:
    async def ask() -> Exposition:
        return Exposition(await read(app[CONSOLE]))

    app[EXPOSITIONS] = Once(ask)
    app.router.add_get("/metrics", metrics)


async def metrics(request: web.Request) -> web.Response:
    """In the format that is asked for; compressed where that is."""
    try:
        exposition = await request.app[EXPOSITIONS].get(find_timeout(request))
    except TimeoutError:
        exposition = Exposition(Scrape(is_up=False))
    _, content_type = choose_encoder(request.headers.get("Accept", ""))
    zipped = gzip_accepted(request.headers.get("Accept-Encoding", ""))
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if zipped:
        headers["Content-Encoding"] = "gzip"
    is_openmetrics = content_type.startswith(_OPENMETRICS)
    return web.Response(
        body=exposition.body(openmetrics=is_openmetrics, zipped=zipped), headers=headers
    )


def find_timeout(request: web.Request) -> float:
    """Seconds for this scrape: its own timeout less a fifth, at most SCRAPE_TIMEOUT."""
    try:
        asked = float(request.headers.get(_ITS_TIMEOUT, ""))
    except ValueError:
        return SCRAPE_TIMEOUT
    return min(SCRAPE_TIMEOUT, asked * 0.8) if asked > 0 else SCRAPE_TIMEOUT
