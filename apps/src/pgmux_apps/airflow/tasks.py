"""What a task uses of databases: the connections it names, and what its code does.

Works on the task objects of Airflow 2 and 3, mapped ones included, and imports neither. Nothing of
a task is called: its attributes and the source of its functions say it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgmux_apps.airflow.sources import Sources

# Arguments of operators that hold a function which runs in the task
_CALLABLES = ("python_callable", "poke_callable", "condition")


@dataclass(frozen=True, slots=True)
class Use:
    """A use of a connection. `is_database`: without asking which type the connection has."""

    what: str
    conn_id: str | None
    is_database: bool = False
    place: str | None = None  # file:line


def conn_ids_of(task: Any) -> Iterator[Use]:
    """The connections that an operator's arguments name; not templates, known at run time only."""
    seen: set[str] = set()
    for name, value in _arguments(task):
        if not name.endswith("conn_id") or not isinstance(value, str) or "{{" in value:
            continue
        if value and value not in seen:
            seen.add(value)
            yield Use(f"{_operator(task)} uses connection {value}", value)


def uses_of(task: Any, sources: Sources) -> Iterator[Use]:
    """What the functions that run in a task use, as far as their source says it."""
    for function in _functions_of(task):
        yield from sources.uses(function)


def _arguments(task: Any) -> Iterator[tuple[str, Any]]:
    """An operator's attributes, or what a mapped one is to be made with."""
    partial = getattr(task, "partial_kwargs", None)
    if not isinstance(partial, Mapping):
        yield from vars(task).items()
        return
    yield from partial.items()
    expanded = getattr(getattr(task, "expand_input", None), "value", None)
    if isinstance(expanded, Mapping):
        for name, values in expanded.items():
            each = values if isinstance(values, list | tuple) else ()
            yield from ((name, value) for value in each)


def _functions_of(task: Any) -> Iterator[Callable[..., Any]]:
    """The functions of the user's that run when the task does."""
    arguments = dict(_arguments(task))
    for name in _CALLABLES:
        # a mapped @task has its function beside what it is to be made with
        value = getattr(task, name, None) or arguments.get(name)
        if callable(value):
            yield _bare(value)
    # An operator of one's own: what Airflow's and its providers' do is in their arguments
    operator = getattr(task, "operator_class", None) or type(task)
    for name in ("execute", "poke"):
        method = getattr(operator, name, None)
        if inspect.isfunction(method) and not method.__module__.startswith("airflow."):
            yield _bare(method)


def _bare(function: Any) -> Callable[..., Any]:
    """Without partial() and decorators around it."""
    while isinstance(function, functools.partial):
        function = function.func
    bare: Callable[..., Any] = inspect.unwrap(function)
    return getattr(bare, "__func__", bare)


def _operator(task: Any) -> str:
    return str(getattr(task, "task_type", type(task).__name__))
