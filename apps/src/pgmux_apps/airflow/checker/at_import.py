"""AIR002: what a file does with the database while Airflow reads it.

What runs then: the module's statements, class bodies, decorators, defaults, and the bodies of
`@dag` and `@task_group` functions; also the functions of the folder that any of these call. What
doesn't: the bodies of other functions and of lambdas, `if __name__ == "__main__"`, `if
TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pgmux_apps.airflow.checker.contexts import decorated_as
from pgmux_apps.airflow.checker.finding import Findings
from pgmux_apps.airflow.checker.objects import HIDDEN, Kind, text_of, thing_of
from pgmux_apps.airflow.checker.scopes import (
    FUNCTIONS,
    Class,
    Expression,
    External,
    Function,
    Module,
    Scope,
)
from pgmux_apps.airflow.rules import AT_IMPORT

MOST_FOLLOWED = 100  # functions, from one call

_VARIABLE = re.compile(
    r"airflow\.(?:\w+\.)*Variable\.(get|set|update|delete|setdefault|get_variable_\w+)"
)
_CONNECTION = re.compile(r"airflow\.(?:\w+\.)*Connection\.(get|get_connection\w*)")
_HOOK = re.compile(r"airflow\.(?:\w+\.)*\w*Hook\.(get_connections?|get_hook)")
_SESSION = re.compile(r"airflow\.(?:\w+\.)*(?:create_session|settings\.Session)")
_AIRFLOW_HOOK = re.compile(r"airflow\.(?:\w+\.)*\w*Hook")

_DOES = {
    Kind.HOOK: "makes a hook",
    Kind.ENGINE: "makes an engine, with its own connections in each process that imports the file",
    Kind.POOL: "opens a pool of connections",
    Kind.CONNECTION: "opens a connection",
}
_LOOKS_UP = "asks the metadata database"


@dataclass(frozen=True, slots=True)
class Deed:
    """What a call does at import."""

    node: ast.Call
    scope: Scope
    what: str
    does: str


def check(module: Module, findings: Findings) -> None:
    """Find what the module does with the database when it is imported."""
    if module.source.is_notebook and not _makes_dag(module):
        return  # its cells run in a task, or not at all
    for roots, where in _roots(module):
        for node in running(roots, module):
            if isinstance(node, ast.Call):
                _check_call(node, module, where, findings)


def _makes_dag(module: Module) -> bool:
    text = "\n".join(module.document.lines).lower()
    return "airflow" in text and "dag" in text.replace("dags", "")


def _roots(module: Module) -> Iterator[tuple[list[ast.stmt], str]]:
    yield module.document.tree.body, "at module level"
    for node in module.nodes():
        if isinstance(node, FUNCTIONS) and decorated_as(node, module.scope[node]):
            yield node.body, f"in {node.name}(), which runs whenever the file is read"


def _check_call(call: ast.Call, module: Module, where: str, findings: Findings) -> None:
    deed = deed_of(call, module.scope[call])
    way = ""
    if deed is None:
        found = _follow(call, module.scope[call])
        if found is None:
            return
        deed, way = found
    advice = AT_IMPORT.advice
    findings.add(AT_IMPORT, module, call, f"{where}: {way}{deed.what} {deed.does}", advice)


def running(roots: Iterable[ast.AST], module: Module) -> Iterator[ast.AST]:
    """The nodes that run when the roots do; nothing within what is found twice."""
    stack = list(roots)[::-1]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.Call) and deed_of(node, module.scope[node]):
            continue  # one finding for PostgresHook(Variable.get(…))
        stack += list(_running_below(node, module))[::-1]


def _running_below(node: ast.AST, module: Module) -> Iterator[ast.AST]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.decorator_list
            yield from _defaults(node.args)
        case ast.Lambda():
            yield from _defaults(node.args)
        case ast.If(test=test) if _is_never_true(test):
            yield from node.orelse
        case ast.AnnAssign():
            yield from (each for each in (node.target, node.value) if each)
        case _:
            yield from ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> Iterator[ast.expr]:
    yield from arguments.defaults
    yield from (each for each in arguments.kw_defaults if each)


def _is_never_true(test: ast.expr) -> bool:
    """`__name__ == "__main__"`, `TYPE_CHECKING`, `False`."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            texts = [ast.unparse(each) for each in (left, right)]
            return "__name__" in texts and any("__main__" in text for text in texts)
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Constant(value=value):
            return not value
    return False


def deed_of(call: ast.Call, scope: Scope) -> Deed | None:
    """What a call itself does with a database."""
    for meaning in scope.module.names.meanings(call.func, scope):
        match meaning:
            case External(dotted):
                what = _looked_up(dotted, call, scope)
                if what:
                    return Deed(call, scope, what, _LOOKS_UP)
            case Function():
                return None  # followed, so that the finding names what it does
            case Expression(node=ast.Attribute(attr="get_connection", value=base), scope=where):
                if _is_airflow_hook(base, where):
                    return Deed(call, scope, "get_connection()", _LOOKS_UP)
    thing = thing_of(call, scope)
    if thing is None:
        return None
    what = thing.what if thing.what.endswith(")") else f"{thing.what}()"
    return Deed(call, scope, what, _DOES[thing.kind])


def _looked_up(dotted: str, call: ast.Call, scope: Scope) -> str | None:
    for pattern, form in (
        (_VARIABLE, "Variable.{}"),
        (_CONNECTION, "Connection.{}"),
        (_HOOK, "BaseHook.{}"),
    ):
        found = pattern.fullmatch(dotted)
        if found:
            name = text_of(call.args[0], scope) if call.args else None
            shown = repr(name.replace(HIDDEN, "…")) if name else ""
            return f"{form.format(found[1])}({shown})"
    found = _SESSION.fullmatch(dotted)
    return f"{dotted.rpartition('.')[2]}()" if found else None


def _is_airflow_hook(node: ast.expr, scope: Scope) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return any(
        isinstance(each, External) and _AIRFLOW_HOOK.fullmatch(each.dotted)
        for each in scope.module.names.meanings(node.func, scope)
    )


def _follow(call: ast.Call, scope: Scope) -> tuple[Deed, str] | None:
    """What a function of the folder does that is called, and the way there."""
    waiting: deque[tuple[ast.Call, Scope, tuple[str, ...]]] = deque([(call, scope, ())])
    seen: set[ast.AST] = set()
    while waiting and len(seen) < MOST_FOLLOWED:
        current, where, way = waiting.popleft()
        for function in _called(current, where):
            if function.node in seen:
                continue
            seen.add(function.node)
            module = function.scope.module
            further = (*way, function.node.name)
            for node in running(function.node.body, module):
                if isinstance(node, ast.Call):
                    deed = deed_of(node, module.scope[node])
                    if deed:
                        return deed, _way(further, module, node, scope.module)
                    waiting.append((node, module.scope[node], further))
    return None


def _way(names: tuple[str, ...], module: Module, node: ast.Call, near: Module) -> str:
    place = f"{module.source.relative}:{node.lineno}" if module is not near else f"{node.lineno}"
    text = " → ".join(f"{name}()" for name in names[:4])
    return f"{text} → (line {place}) " if module is near else f"{text} → ({place}) "


def _called(call: ast.Call, scope: Scope) -> Iterator[Function]:
    """The functions of the folder that run when this is called; tasks and DAGs don't run then."""
    for meaning in scope.module.names.meanings(call.func, scope):
        if isinstance(meaning, Class):
            for each in scope.module.names.class_member(meaning, "__init__"):
                if isinstance(each, Function):
                    yield each
        elif isinstance(meaning, Function) and _runs_when_called(meaning):
            yield meaning


def _runs_when_called(function: Function) -> bool:
    """Plain functions do; what a decorator of Airflow makes of one is a task or a DAG."""
    for decorator in function.node.decorator_list:
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        for meaning in function.scope.module.names.meanings(node, function.scope):
            if isinstance(meaning, External) and meaning.dotted.startswith("airflow."):
                return False
    return not any(
        isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function.node.body)
    ) or bool(function.node.decorator_list)


def _own_nodes(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    stack = list(roots)
    while stack:
        node = stack.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            stack += ast.iter_child_nodes(node)
