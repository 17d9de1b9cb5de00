"""What database object an expression makes: a hook, an engine, a connection, an engine's URL.

PostgreSQL only: a hook, an operator or a URL that says another database is nothing here, and so is
a connection id that names one (`conn_id="snowflake_default"`).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import Enum

from pgmux_apps.airflow.checker.names import DEPTH, KEPT_FROM
from pgmux_apps.airflow.checker.scopes import (
    Argument,
    Class,
    Expression,
    External,
    Function,
    Meaning,
    Scope,
    body_of,
    walk,
)

HIDDEN = "\0"  # a part of a text that isn't known


class Kind(Enum):
    """What there may be of a database in a program."""

    HOOK = "hook"
    ENGINE = "engine"
    POOL = "pool of connections"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Thing:
    """A database object; `what` makes it, as a program spells it."""

    kind: Kind
    what: str
    driver: str = ""  # psycopg2, psycopg, asyncpg, sqlalchemy, or hook: Airflow's choice


_CONNECTS = {
    "psycopg2.connect": "psycopg2",
    "psycopg.connect": "psycopg",
    "psycopg.Connection.connect": "psycopg",
    "psycopg.AsyncConnection.connect": "psycopg",
    "asyncpg.connect": "asyncpg",
    "asyncpg.connection.connect": "asyncpg",
    "aiopg.connect": "psycopg2",
    "pg8000.connect": "pg8000",
    "pg8000.dbapi.connect": "pg8000",
    "pg8000.native.Connection": "pg8000",
}
_POOLS = {
    "psycopg2.pool.SimpleConnectionPool": "psycopg2",
    "psycopg2.pool.ThreadedConnectionPool": "psycopg2",
    "psycopg_pool.ConnectionPool": "psycopg",
    "psycopg_pool.AsyncConnectionPool": "psycopg",
    "psycopg_pool.NullConnectionPool": "psycopg",
    "psycopg_pool.AsyncNullConnectionPool": "psycopg",
    "asyncpg.create_pool": "asyncpg",
    "aiopg.create_pool": "psycopg2",
}
_ENGINES = frozenset(
    {
        "sqlalchemy.create_engine",
        "sqlalchemy.engine.create_engine",
        "sqlalchemy.engine_from_config",
        "sqlalchemy.ext.asyncio.create_async_engine",
        "sqlmodel.create_engine",
    }
)
_URLS = re.compile(r"sqlalchemy\.(?:engine\.)?(?:url\.)?URL(?:\.create)?")
_READERS = re.compile(r"(?:pandas|polars|connectorx|dask\.dataframe|modin\.pandas)\.read_\w+")
_POSTGRES_HOOK = re.compile(r"Postgres\w*Hook|DbApiHook|PgVectorHook|PgvectorHook")
_POSTGRES_URI = re.compile(r"(?:postgres(?:ql)?|cockroachdb)(?:\+\w+)?:", re.I)
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*:")
_OTHER_DATABASE = re.compile(
    r"(?<![a-z])(?:snowflake|mysql|mariadb|bigquery|bq|sqlite|mssql|sqlserver|oracle|trino|presto|"
    r"clickhouse|redshift|databricks|hive|hiveserver2|impala|druid|duckdb|motherduck|athena|"
    r"vertica|exasol|teradata|drill|pinot|spark|db2|hana|jdbc|odbc|elasticsearch|kylin|ydb|spanner)"
    r"(?![a-z])",
    re.I,
)
_ENGINE_METHODS = frozenset({"get_sqlalchemy_engine", "sqlalchemy_engine"})
_CONNECTION_METHODS = frozenset({"connect", "begin", "raw_connection", "acquire", "getconn"})


def text_of(node: ast.expr | None, scope: Scope, depth: int = DEPTH) -> str | None:
    """A text as far as it is known, HIDDEN for the rest of it; None if it may be anything."""
    match node:
        case ast.Constant(value=str() | int() as value):
            return str(value)
        case ast.JoinedStr(values=values):
            parts = (part if isinstance(part, ast.Constant) else None for part in values)
            return "".join(str(part.value) if part else HIDDEN for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right) if depth:
            texts = [text_of(each, scope, depth - 1) for each in (left, right)]
            if texts == [None, None]:
                return None
            return "".join(HIDDEN if text is None else text for text in texts)
        case ast.BinOp(op=ast.Mod(), left=left) if depth:
            text = text_of(left, scope, depth - 1)
            return re.sub(r"%(?:\(\w+\))?[sdr]", HIDDEN, text) if text else None
        case ast.Call(func=ast.Attribute(value=base, attr="format")) if depth:
            text = text_of(base, scope, depth - 1)
            return re.sub(r"\{[^{}]*\}", HIDDEN, text) if text else None
        case ast.Call(func=ast.Name(id="str" | "int"), args=[argument]) if depth:
            return text_of(argument, scope, depth - 1)
        case ast.Name() | ast.Attribute() if depth:
            found = scope.module.names.meanings(node, scope, depth)
            if len(found) == 1 and isinstance(found[0], Expression) and found[0].node is not node:
                return text_of(found[0].node, found[0].scope, depth - 1)
    return None


def keyword(call: ast.Call, *names: str) -> ast.expr | None:
    """The value of a call's keyword argument, the first of these that is there."""
    for name in names:
        for each in call.keywords:
            if each.arg == name:
                return each.value
    return None


def argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    """The value of an argument, by position or by keyword."""
    if len(call.args) > position and not isinstance(call.args[position], ast.Starred):
        return call.args[position]
    return keyword(call, *names)


def is_other_database(text: str | None) -> bool:
    """Whether a connection id names a database that isn't PostgreSQL."""
    return text is not None and _OTHER_DATABASE.search(text.replace("_", "-")) is not None


def is_postgres_uri(text: str) -> bool:
    return _POSTGRES_URI.match(text) is not None


def thing_of(node: ast.expr, scope: Scope, depth: int = DEPTH) -> Thing | None:
    """The database object that an expression is, None if it is none that is known."""
    if depth <= 0:
        return None
    if isinstance(node, ast.Await | ast.NamedExpr):
        return thing_of(node.value, scope, depth - 1)
    if isinstance(node, ast.Call):
        if depth < KEPT_FROM:
            return _made_by(node, scope, depth - 1)
        kept: dict[tuple[object, ...], Thing | None] = scope.module.kept
        key = ("thing", node)
        if key not in kept:
            kept[key] = None  # while it is looked at: it may be made of itself
            kept[key] = _made_by(node, scope, depth - 1)
        return kept[key]
    if isinstance(node, ast.Name | ast.Attribute):
        for meaning in scope.module.names.meanings(node, scope, min(depth, DEPTH)):
            found = _thing_meant(meaning, node, depth - 1)
            if found:
                return found
    return None


def _thing_meant(meaning: Meaning, node: ast.expr, depth: int) -> Thing | None:
    match meaning:
        case Expression(node=value) if value is not node:
            return thing_of(value, meaning.scope, depth)
        case Expression(node=ast.Attribute(value=base, attr=attribute)):
            owner = thing_of(base, meaning.scope, depth)
            return _of_method(owner, attribute) if owner and attribute in _ENGINE_METHODS else None
        case Argument(node=ast.arg(annotation=ast.expr() as annotation)):
            return _annotated(annotation, meaning.scope)
        case Function():  # a property
            if any(
                isinstance(each, ast.Name) and "property" in each.id for each in decorators(meaning)
            ):
                return _returned(meaning, depth)
    return None


def decorators(function: Function) -> list[ast.expr]:
    return function.node.decorator_list


def _annotated(annotation: ast.expr, scope: Scope) -> Thing | None:
    """A parameter that is declared to be a hook."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        name = annotation.id if isinstance(annotation, ast.Name) else ""
        return Thing(Kind.HOOK, name, "hook") if _POSTGRES_HOOK.fullmatch(name) else None
    for meaning in scope.module.names.meanings(annotation, scope):
        if is_hook_class(meaning):
            return Thing(Kind.HOOK, ast.unparse(annotation), "hook")
    return None


def is_hook_class(meaning: Meaning, depth: int = DEPTH) -> bool:
    """Whether it is PostgresHook, or a class of the folder made of it."""
    match meaning:
        case External():
            return _POSTGRES_HOOK.fullmatch(meaning.name) is not None
        case Class(node=node, scope=scope) if depth:
            kept: dict[tuple[object, ...], bool] = scope.module.kept
            if ("hook", node) not in kept:
                kept["hook", node] = False  # while it is looked at: it may be its own base
                kept["hook", node] = any(
                    is_hook_class(each, depth - 1)
                    for base in node.bases
                    for each in scope.module.names.meanings(base, scope)
                )
            return kept["hook", node]
    return False


def _made_by(call: ast.Call, scope: Scope, depth: int) -> Thing | None:
    for meaning in scope.module.names.meanings(call.func, scope, min(max(depth, 1), DEPTH)):
        match meaning:
            case External(dotted):
                found = _made_outside(dotted, call, scope)
            case Class() if is_hook_class(meaning):
                found = Thing(Kind.HOOK, meaning.node.name, "hook")
            case Function():
                found = _returned(meaning, depth)
            case Expression(node=ast.Attribute(value=base, attr=attribute), scope=where):
                owner = thing_of(base, where, depth)
                found = _of_method(owner, attribute) if owner else None
            case _:
                found = None
        if found:
            return found
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call | ast.Name):
        owner = thing_of(call.func.value, scope, depth)
        return _of_method(owner, call.func.attr) if owner else None
    return None


def _made_outside(dotted: str, call: ast.Call, scope: Scope) -> Thing | None:
    name = dotted.rpartition(".")[2]
    if dotted in _CONNECTS:
        return Thing(Kind.CONNECTION, dotted, _CONNECTS[dotted])
    if dotted in _POOLS:
        return Thing(Kind.POOL, dotted, _POOLS[dotted])
    if dotted in _ENGINES:
        return None if _is_other_engine(call, scope) else Thing(Kind.ENGINE, name, "sqlalchemy")
    if _POSTGRES_HOOK.fullmatch(name):
        given = argument(call, 0, "postgres_conn_id", "conn_id")
        if name == "DbApiHook" and is_other_database(text_of(given, scope)):
            return None
        return Thing(Kind.HOOK, name, "hook")
    if dotted.startswith("airflow.") and name == "get_hook":
        text = text_of(argument(call, 0, "conn_id"), scope)
        if text and re.search(r"(?<![a-z])(?:postgres\w*|pg|timescale\w*)(?![a-z])", text, re.I):
            return Thing(Kind.HOOK, "get_hook", "hook")
    return None


def _is_other_engine(call: ast.Call, scope: Scope) -> bool:
    """Whether create_engine's URL is known to be another database's."""
    url = argument(call, 0, "url")
    if url is None:
        return False
    for node, where in expanded(url, scope):
        text = text_of(node, where)
        if text is None and isinstance(node, ast.Call):
            if any(
                isinstance(each, External) and _URLS.fullmatch(each.dotted)
                for each in where.module.names.meanings(node.func, where)
            ):
                text = text_of(argument(node, 0, "drivername"), where)
                text = text + ":" if text else None
            elif isinstance(node.func, ast.Attribute):
                return _is_other_hook(node.func.value, where)
        if text and _SCHEME.match(text) and not is_postgres_uri(text):
            return True
    return False


def _is_other_hook(node: ast.expr, scope: Scope) -> bool:
    """`MySqlHook(…)`, or a name for one."""
    for value, where in expanded(node, scope):
        if isinstance(value, ast.Call):
            for meaning in where.module.names.meanings(value.func, where):
                if isinstance(meaning, External) and meaning.name.endswith("Hook"):
                    return not is_hook_class(meaning)
    return False


def expanded(node: ast.expr, scope: Scope) -> list[tuple[ast.expr, Scope]]:
    """The expressions that a name stands for; another expression stands for itself."""
    if isinstance(node, ast.Name | ast.Attribute):
        found = scope.module.names.meanings(node, scope)
        return [(each.node, each.scope) for each in found if isinstance(each, Expression)]
    return [(node, scope)]


def _of_method(owner: Thing, method: str) -> Thing | None:
    """What a method of a database object gives."""
    if owner.kind is Kind.HOOK and method == "get_conn":
        return Thing(Kind.CONNECTION, f"{owner.what}.get_conn()", owner.driver)
    if owner.kind is Kind.HOOK and method in _ENGINE_METHODS:
        return Thing(Kind.ENGINE, f"{owner.what}.{method}()", "sqlalchemy")
    if owner.kind is Kind.ENGINE and method in ("connect", "raw_connection"):
        return Thing(Kind.CONNECTION, f"engine.{method}()", "sqlalchemy")
    return None


def _returned(function: Function, depth: int) -> Thing | None:
    """What a function of the folder returns, if that is a database object; kept."""
    kept: dict[tuple[object, ...], Thing | None] = function.scope.module.kept
    key = ("returned", function.node, depth)
    if key not in kept:
        kept[key] = None  # while it is looked at: it may return what it returns
        kept[key] = _find_returned(function, depth)
    return kept[key]


def _find_returned(function: Function, depth: int) -> Thing | None:
    inside = function.scope.module.scope_inside(function.node)
    for node in walk(body_of(function.node)):
        if isinstance(node, ast.Return) and node.value:
            scope = function.scope.module.scope[node]
            if scope is not inside:
                continue
            found = thing_of(node.value, scope, depth - 2)
            if found:
                return found
    return None


def is_reader(dotted: str) -> bool:
    """pandas.read_sql and the like, which take a connection or a URI and close neither."""
    return _READERS.fullmatch(dotted) is not None
