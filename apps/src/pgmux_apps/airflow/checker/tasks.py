"""AIR001: a task that uses the database outside of the pool for such tasks.

Tasks are: operators of SQL and PostgreSQL, classes of the folder made of them or using the database
in a method, PythonOperator and its kin whose callable uses the database, functions under `@task`
that do. The pool is what is nearest: `.override()`, the call or decorator, the operator class, task
groups, the DAG. One that the source doesn't show (`pool=settings.POOL`) is taken to be right.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from pgmux_apps.airflow.checker.arguments import HIDDEN, Answer, Given, given_by_call
from pgmux_apps.airflow.checker.contexts import contexts_of, given_in_context
from pgmux_apps.airflow.checker.finding import Findings
from pgmux_apps.airflow.checker.objects import is_other_database, keyword, text_of
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.references import references_to
from pgmux_apps.airflow.checker.scopes import (
    FUNCTIONS,
    Argument,
    Class,
    Expression,
    External,
    Function,
    Module,
    Scope,
    walk,
)
from pgmux_apps.airflow.checker.uses import Use, use_of
from pgmux_apps.airflow.rules import NO_POOL

# By class name, as these have moved between modules from one Airflow to the next.
_SQL_OPERATOR = re.compile(
    r"SQLExecuteQueryOperator|SQL\w*CheckOperator|SQLInsertRowsOperator|SQLBulkLoadOperator|"
    r"BranchSQLOperator|BranchSqlOperator|BaseSQLOperator|Sql[Ss]ensor|SqlSensor|GenericTransfer|"
    r"(?:Interval|Value|Threshold)?CheckOperator|"
    r"(?:SQL|Sql)To\w+Operator|\w+To(?:SQL|Sql)Operator|"
    r"\w*(?:Postgres|Pgvector|PgVector)\w*(?:Operator|Sensor|Transfer)"
)
_POSTGRES_OPERATOR = re.compile(r"\w*(?:Postgres|Pgvector|PgVector)\w*")
_ABOUT_SERVERS = re.compile(
    r"\w*(?:Create|Delete|Update|Start|Stop)\w*(?:Instance|Server|Cluster)\w*"
)
_PYTHON_OPERATOR = re.compile(
    r"(?:Branch)?(?:External)?Python(?:Virtualenv)?(?:Operator|Sensor)|ShortCircuitOperator"
)
_OPERATOR = re.compile(r"\w+(?:Operator|Sensor|Transfer)")
_TASK = re.compile(r"airflow\.(?:decorators|sdk)(?:\.\w+)*?\.(?:task|setup|teardown)((?:\.\w+)*)")
_CONNECTION_IDS = (
    "conn_id", "postgres_conn_id", "sql_conn_id", "source_conn_id", "destination_conn_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operator:
    """What a class of operators has to do with the database, and the pool that it brings along."""

    use: str | None  # text, None where it has nothing to do with it
    is_python: bool = False
    pool: Answer = None


@dataclass(slots=True)
class TaskRule:
    """Looks at one module at a time."""

    policy: Policy
    findings: Findings
    hidden: int = 0  # tasks whose pool the source doesn't show
    _operators: dict[tuple[str, int], Operator | None] = field(default_factory=dict)

    def check(self, module: Module) -> None:
        """Find the module's tasks and judge each."""
        for node in module.nodes():
            if isinstance(node, ast.Call):
                self._check_call(node, module.scope[node], module)
            elif isinstance(node, FUNCTIONS):
                self._check_function(node, module.scope[node], module)

    # Operators

    def _check_call(self, call: ast.Call, scope: Scope, module: Module) -> None:
        operator_class = call.func
        if isinstance(operator_class, ast.Attribute) and operator_class.attr == "partial":
            operator_class = operator_class.value
        for meaning in module.names.meanings(operator_class, scope):
            if isinstance(meaning, External | Class):
                operator = self._operator_of(meaning)
                if operator:
                    self._check_operator(call, scope, module, operator)
                    return
            if isinstance(meaning, External) and _TASK.fullmatch(meaning.dotted) and call.args:
                self._check_wrapped(call, call, scope, module)
            elif isinstance(meaning, Expression) and call.args:
                made = meaning.node
                if isinstance(made, ast.Call) and _is_task_decorator(made, meaning.scope):
                    self._check_wrapped(call, made, scope, module)

    def _check_operator(
        self, call: ast.Call, scope: Scope, module: Module, operator: Operator
    ) -> None:
        use = operator.use
        if operator.is_python:
            found = self._use_of_callable(keyword(call, "python_callable"), scope)
            use = found.text(scope) if found else use
        elif use and not _POSTGRES_OPERATOR.fullmatch(use) and self._is_of_other(call, scope):
            use = None
        if use:
            own = given_by_call(call, scope, "pool") or _set_later(call, scope)
            given = own or operator.pool
            self._judge(call, [(call, scope, given)], module, _task_id(call, scope), use)

    def _is_of_other(self, call: ast.Call, scope: Scope) -> bool:
        """Whether each connection id that shows names another database."""
        texts: list[str] = []
        for name in _CONNECTION_IDS:
            answer = given_by_call(call, scope, name)
            if isinstance(answer, Given):
                texts.append(text_of(answer.node, answer.scope) or "")
        if not texts:
            for context in contexts_of(call, scope):
                answer = given_in_context(context, "conn_id")
                if isinstance(answer, Given):
                    texts.append(text_of(answer.node, answer.scope) or "")
        return bool(texts) and all(map(is_other_database, texts))

    def _use_of_callable(self, node: ast.expr | None, scope: Scope) -> Use | None:
        for meaning in scope.module.names.meanings(node, scope):
            found = use_of(meaning)
            if found:
                return found
        return None

    def _operator_of(self, meaning: External | Class) -> Operator | None:
        if isinstance(meaning, External):
            return _known_operator(meaning)
        key = (meaning.scope.module.source.shown, meaning.node.lineno)
        if key not in self._operators:
            self._operators[key] = None  # while it is looked at: a class may name itself
            self._operators[key] = self._operator_of_class(meaning)
        return self._operators[key]

    def _operator_of_class(self, meaning: Class) -> Operator | None:
        inherited: Operator | None = None
        for base in meaning.node.bases:
            for each in meaning.scope.module.names.meanings(base, meaning.scope):
                if isinstance(each, External | Class):
                    inherited = inherited or self._operator_of(each)
        if inherited is None:
            return None
        use = inherited.use
        if use is None:
            found = use_of(meaning)
            use = f"{meaning.node.name}: {found.text(meaning.scope)}" if found else None
        return Operator(use, inherited.is_python, _pool_of_class(meaning) or inherited.pool)

    # TaskFlow

    def _check_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope, module: Module
    ) -> None:
        decorators = [each for each in node.decorator_list if _is_task_decorator(each, scope)]
        if not decorators:
            return
        function = Function(node, scope)
        found = use_of(function)
        use = found.text(scope) if found else None
        own: Answer = None
        for decorator in decorators:
            if isinstance(decorator, ast.Call):
                own = own or given_by_call(decorator, scope, "pool")
            if _kind_of_task(decorator, scope) == ".sql":
                use = "@task.sql"
        if use:
            runs: list[tuple[ast.AST, Scope, Answer]] = [
                (name, where, _overridden(name, where) or own)
                for name, where in references_to(function)
            ]
            runs = runs or [(node, scope, own)]
            self._judge(decorators[0], runs, module, node.name, use)

    def _check_wrapped(
        self, call: ast.Call, decorator: ast.Call, scope: Scope, module: Module
    ) -> None:
        """`task(f)`, `task(pool=…)(f)`."""
        found = self._use_of_callable(call.args[0], scope)
        if found:
            own = given_by_call(decorator, scope, "pool")
            name = ast.unparse(call.args[0])
            self._judge(call, [(call, scope, own)], module, name, found.text(scope))

    # The pool

    def _judge(
        self,
        place: ast.AST,
        runs: list[tuple[ast.AST, Scope, Answer]],
        module: Module,
        task: str,
        use: str,
    ) -> None:
        """One finding at `place` if any of the task's runs is in no accepted pool."""
        for node, scope, own in runs:
            for context in contexts_of(node, scope):
                wrong = self._wrong(own or given_in_context(context, "pool"))
                if wrong:
                    advice = NO_POOL.advice.format(pool=self.policy.pools[0])
                    message = f"uses the database, {use}, {wrong}"
                    self.findings.add(NO_POOL, module, place, message, advice, task)
                    return

    def _wrong(self, answer: Answer) -> str | None:
        """What is wrong about the pool, None if nothing is or it doesn't show."""
        if isinstance(answer, Given):
            if isinstance(answer.node, ast.Constant) and answer.node.value is None:
                return "and its pool is None: default_pool"
            text = text_of(answer.node, answer.scope)
            if text is None or "\0" in text:
                self.hidden += 1
                return None
            if text in self.policy.pools:
                return None
            return f"and its pool is {text!r}, not {' or '.join(map(repr, self.policy.pools))}"
        if answer is HIDDEN:
            self.hidden += 1
            return None
        return "and no pool is set: it runs in default_pool"


def _known_operator(meaning: External) -> Operator | None:
    name = meaning.name
    if _PYTHON_OPERATOR.fullmatch(name):
        return Operator(None, is_python=True)
    if _SQL_OPERATOR.fullmatch(name) and not _ABOUT_SERVERS.fullmatch(name):
        is_other = is_other_database(meaning.dotted) and not _POSTGRES_OPERATOR.fullmatch(name)
        return Operator(None if is_other else name)
    return Operator(None) if _OPERATOR.fullmatch(name) else None


def _kind_of_task(decorator: ast.expr, scope: Scope) -> str | None:
    """`` for @task, `.branch` for @task.branch, None for another decorator."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    for meaning in scope.module.names.meanings(node, scope):
        found = _TASK.fullmatch(meaning.dotted) if isinstance(meaning, External) else None
        if found:
            return found[1]
    return None


def _is_task_decorator(node: ast.expr, scope: Scope) -> bool:
    return _kind_of_task(node, scope) is not None


def _overridden(node: ast.expr, scope: Scope) -> Answer:
    """The pool of `f.override(pool=…)`, also `f.partial(…).expand(…)`; None if there is none."""
    answer: Answer = None
    current: ast.AST = node
    for _, parent in scope.module.above(node):
        if isinstance(parent, ast.Call) and parent.func is current:
            if isinstance(current, ast.Attribute) and current.attr == "override":
                answer = given_by_call(parent, scope, "pool") or answer
        elif not (isinstance(parent, ast.Attribute) and parent.value is current):
            break
        current = parent
    return answer


def _set_later(call: ast.Call, scope: Scope) -> Answer:
    """`t = Operator(…)`, `t.pool = …`."""
    parent = scope.module.parent[call]
    if not isinstance(parent, ast.Assign) or not isinstance(parent.targets[0], ast.Name):
        return None
    for target, value in scope.module.targets:
        match target:
            case ast.Attribute(value=ast.Name(id=name), attr="pool"):
                if name == parent.targets[0].id:
                    return Given(value, scope.module.scope[value])
    return None


def _task_id(call: ast.Call, scope: Scope) -> str:
    """The task's id, or the name that the task has in the program."""
    text = text_of(keyword(call, "task_id"), scope)
    if text:
        return text.replace("\0", "…")
    parent = scope.module.parent[call]
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return parent.targets[0].id
    return ""


def _pool_of_class(owner: Class) -> Answer:
    """The pool that an operator class sets in its `__init__`, or as a default of it."""
    module = owner.scope.module
    for node in walk(owner.node.body):
        if isinstance(node, ast.Call):
            found = _pool_passed_on(node, module.scope[node])
            if found:
                return found
        elif isinstance(node, ast.Assign):
            match node.targets[0]:
                case (
                    ast.Subscript(slice=ast.Constant(value="pool"))
                    | ast.Attribute(value=ast.Name(id="self"), attr="pool")
                    | ast.Name(id="pool")
                ):
                    return _resolved(node.value, module.scope[node])
    return None


def _pool_passed_on(call: ast.Call, scope: Scope) -> Answer:
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            node = keyword(call, "pool")  # **kwargs are what the caller gives
            return _resolved(node, scope) if node else None
        case ast.Attribute(attr="setdefault") if len(call.args) == 2:
            if isinstance(call.args[0], ast.Constant) and call.args[0].value == "pool":
                return _resolved(call.args[1], scope)
    return None


def _resolved(node: ast.expr, scope: Scope) -> Answer:
    """A value; a parameter of `__init__` is its default."""
    for meaning in scope.module.names.meanings(node, scope):
        if isinstance(meaning, Argument):
            default = _default_of(meaning)
            return Given(default, meaning.scope) if default else None
    return Given(node, scope)


def _default_of(meaning: Argument) -> ast.expr | None:
    function = meaning.scope.node
    if not isinstance(function, FUNCTIONS):
        return None
    arguments = function.args
    by_position = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(reversed(by_position), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return next((default for each, default in pairs if each is meaning.node), None)
