"""The alias that bypasses the pooler: for dumps, long reads and migrations that set parameters."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.project import Project
from pgmux_apps.django.rules import Rule


def no_direct_alias(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Of an alias that isn't another one's direct alias itself."""
    if alias.direct is None and not any(a.direct == alias.name for a in project.aliases.values()):
        yield Rule.NO_DIRECT_ALIAS.found(
            alias.place,
            f"Behind a pooler ({alias.because}): no alias bypasses it. pg_dump may leave "
            "search_path and timeouts on a server for the next client, and so do SET and advisory "
            "locks of dbshell and of migrations; dumpdata and .iterator() fail, or hold their "
            "whole result in memory. Plain `migrate` works through the pooler.",
            f'Write DATABASES["direct"] = DATABASES["{alias.name}"] | {{"HOST": …, "PORT": "5432", '
            '"CONN_MAX_AGE": 0, "DISABLE_SERVER_SIDE_CURSORS": False, "TEST": {"MIRROR": '
            f'"{alias.name}"}}}} with PostgreSQL\'s own host, or name such an alias in '
            f'PGMUX = {{"aliases": {{"{alias.name}": {{"direct": "…"}}}}}}; then '
            "`manage.py migrate --database direct`.",
        )


def direct_is_pooled(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """As far as settings tell; pgmux_check asks both."""
    direct = project.direct_of(alias)
    if direct is None:
        return
    same = (direct.host, direct.port) == (alias.host, alias.port)
    if same or direct.pooler is not None:
        why = (
            f"both are at {alias.host or 'the Unix socket'}:{alias.port}"
            if same
            else direct.because
        )
        yield Rule.DIRECT_IS_POOLED.found(
            direct.place,
            f"It is the direct alias of {alias.name!r}, and goes through a pooler itself: {why}.",
            f"Write PostgreSQL's own HOST and PORT in {direct.place}.",
        )


def direct_in_tests(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Two addresses are two databases for Django's test runner, and both have one name."""
    direct = project.direct_of(alias)
    if direct is not None and direct.mirror is None and direct.dbname == alias.dbname:
        yield Rule.DIRECT_IN_TESTS.found(
            direct.place,
            f"Tests that use both aliases create one test database twice, by {alias.name!r} and by "
            f"{direct.name!r}: 'database \"test_{alias.dbname}\" already exists'.",
            f'Write "TEST": {{"MIRROR": "{alias.name}"}} in {direct.place}.',
        )


FOR_POOLED_ALIASES = (no_direct_alias, direct_is_pooled, direct_in_tests)
