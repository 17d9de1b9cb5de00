"""The system checks: what the settings alone tell.

Each check is a function of an alias and its project that yields messages. Where a check is about
poolers, its message says why the alias is taken for pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage

from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.checks import access, connections, direct, sessions
from pgmux_apps.django.project import Project, project_of_settings

Check = Callable[[Alias, Project], Iterator[CheckMessage]]

FOR_EVERY_ALIAS: tuple[Check, ...] = connections.FOR_EVERY_ALIAS
FOR_POOLED_ALIASES: tuple[Check, ...] = (
    *connections.FOR_POOLED_ALIASES,
    *sessions.FOR_POOLED_ALIASES,
    *access.FOR_POOLED_ALIASES,
    *direct.FOR_POOLED_ALIASES,
)


def check_settings(
    app_configs: Any = None, databases: Iterable[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """All of them, as Django calls it; `databases` are those that `--database` names, else all."""
    project, problems = project_of_settings()
    return [*problems, *messages_of(project, databases)]


def messages_of(project: Project, names: Iterable[str] | None = None) -> list[CheckMessage]:
    """What the checks say of these aliases, or of all."""
    wanted = project.aliases if names is None else list(names)
    return [
        message
        for name, alias in project.aliases.items()
        if name in wanted
        for message in _of_alias(alias, project)
    ]


def _of_alias(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    for check in FOR_EVERY_ALIAS:
        yield from check(alias, project)
    if alias.pooler is not None:
        for check in FOR_POOLED_ALIASES:
            yield from check(alias, project)
