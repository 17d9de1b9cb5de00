"""What the documentation says of Django behind a pooler, tried.

stdin: JSON, {name: [function, what differs in DATABASES["default"]]}; stdout: {name: its result}.
The alias `other` is another client of the same pool.
"""

import asyncio
import gc
import json
import os
import sys
from contextlib import contextmanager

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.db import DatabaseError, connections, transaction  # noqa: E402
from psycopg import Error as DriverError  # noqa: E402  # what closing the cursor raises

from pgmux_apps.console import ConsoleAddress, read_console  # noqa: E402

REQUESTS = 12
DEFAULT = settings.DATABASES["default"]


def ask(alias, query):
    with connections[alias].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


@contextmanager
def held_by_other():
    """The other client has a transaction: on the pool's last used server."""
    with transaction.atomic(using="other"):
        ask("other", "SELECT 1")
        yield


def console(query):
    place = ConsoleAddress(DEFAULT["HOST"], DEFAULT["PORT"], "postgres", "postgres")
    return read_console(place, [query])[0]


def clients():
    name = DEFAULT["NAME"]
    return sum(int(r["cl_active"]) for r in console("SHOW POOLS") if r["database"] == name)


def logins():
    return sum(
        int(row["total_client_login_count"])
        for row in console("SHOW STATS")
        if row["database"] == DEFAULT["NAME"]
    )


def iterator():
    """Reads 2,500 rows; after the first of them another client takes the server."""
    read = 0
    try:
        rows = ContentType.objects.iterator(chunk_size=100)
        next(rows)
        with held_by_other():
            read = 1 + sum(1 for _ in rows)
        error = ""
    except (DatabaseError, DriverError) as failure:
        error = str(failure)
    left = ask("default", "SELECT count(*) FROM pg_cursors WHERE name LIKE '\\_django\\_curs%'")
    return {"read": read, "error": error, "left": left}


def iterator_in_a_transaction():
    with transaction.atomic():
        return iterator()


def options():
    return [ask("default", f"SHOW {name}") for name in ("statement_timeout", "lock_timeout")]


def role():
    """Of the client that assumes it, on another server, and of the other on the first one."""
    first = ask("default", "SELECT current_user")
    with held_by_other():
        moved = ask("default", "SELECT current_user")
    return {"first": first, "moved": moved, "other": ask("other", "SELECT current_user")}


def prepared():
    """The same query five times, in between on another server."""
    try:
        for turn in range(5):
            if turn == 2:
                with held_by_other():
                    ContentType.objects.filter(id=1).first()
            ContentType.objects.filter(id=1).first()
    except DatabaseError as failure:
        return str(failure)
    return ""


def held_server():
    """Whether a server is held when the first query is over."""
    ask("default", "SELECT 1")
    return sum(
        int(r["sv_active"]) for r in console("SHOW POOLS") if r["database"] == DEFAULT["NAME"]
    )


def wsgi():
    """Logins of requests one after the other, in one thread."""
    from wsgiref.util import setup_testing_defaults

    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    before = logins()
    for _ in range(REQUESTS):
        environ = {"PATH_INFO": "/sync"}
        setup_testing_defaults(environ)
        response = application(environ, lambda status, headers: None)
        assert b"".join(response) == b"1"
        response.close()
    return logins() - before


def asgi():
    """The same under ASGI: logins, clients that stay, and after garbage was collected."""
    from django.core.asgi import get_asgi_application

    application = get_asgi_application()
    before = logins()
    gc.disable()
    asyncio.run(_requests(application))
    stay = clients()
    gc.collect()
    gc.collect()
    return {"logins": logins() - before, "stay": stay}


async def _requests(application):
    for turn in range(REQUESTS):
        sent = []
        path = ("/sync", "/async")[turn % 2]
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "query_string": b"",
            "server": ("testserver", 80),
        }
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive(asked=asked):
            for message in asked:
                return message
            await asyncio.Event().wait()  # the client stays

        async def send(message, sent=sent):
            sent.append(message)

        await application(scope, receive, send)
        assert sent[0]["status"] == 200, sent


def tests():
    """Django's runner makes the test databases of all aliases, and drops them. Where there is one
    already it asks: dropping that at once, as with --noinput, would wait for 5 s in vain.
    """
    from django.test.utils import setup_databases, teardown_databases

    teardown_databases(setup_databases(0, interactive=True, aliases=list(connections)), 0)


def tried(function, changes):
    """With the alias changed, and no server that another claim has left something on."""
    for alias in connections:
        connections[alias].close()
        connections[alias].close_pool()
    console("RECONNECT")
    connections.settings["default"] = {**BASE, **changes}
    del connections["default"]
    return globals()[function]()


if __name__ == "__main__":
    BASE = connections.settings["default"]
    json.dump({name: tried(*claim) for name, claim in json.load(sys.stdin).items()}, sys.stdout)
