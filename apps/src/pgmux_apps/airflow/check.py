"""`pgmux-airflow check`: the access policy, from the DAGs' source; Airflow needn't be installed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pgmux_apps.airflow.checker import report
from pgmux_apps.airflow.checker.airflowignore import Pattern, build_glob
from pgmux_apps.airflow.checker.folder import Folder, Source
from pgmux_apps.airflow.checker.policy import Policy
from pgmux_apps.airflow.checker.run import Result, check_folder
from pgmux_apps.airflow.checker.sarif import write_sarif
from pgmux_apps.airflow.checker.settings import (
    AirflowSettings,
    installed_airflow,
    read_count,
    read_policy,
    read_syntax,
    split_names,
    split_ports,
)
from pgmux_apps.airflow.rules import RULES, SIZES
from pgmux_apps.environment import SettingError

NAME = "check"
HELP = "Check DAG files against the database access policy, without importing them."

_CHECKED = [rule.id for rule in RULES if rule is not SIZES]
_EPILOG = (
    "rules:\n"
    + "\n".join(f"  {rule.id}  {rule.text}" for rule in RULES if rule is not SIZES)
    + """

A line that ends with `# noqa: AIR001` isn't reported for that rule.
[pgmux] of airflow.cfg and AIRFLOW__PGMUX__* give pool, direct_ports, database_conn_types and
max_prepared_statements; an option given here comes first.

exit code:
  0  nothing found
  1  findings
  2  it couldn't be checked: no such folder, no Python file in it, a wrong option or setting
"""
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow `pgmux-airflow check`."""
    parser.epilog = _EPILOG
    parser.add_argument("folder", metavar="DAGS_FOLDER", type=Path)
    parser.add_argument(
        "files", metavar="FILE", type=Path, nargs="*", help="check only these files of the folder"
    )
    parser.add_argument(
        "--pool",
        action="append",
        metavar="NAME",
        help="a pool that database tasks may be in; repeat it for more (default: db_pool)",
    )
    parser.add_argument(
        "--direct-port",
        action="append",
        metavar="PORT",
        help="a port that is the server's own, not the pooler's (default: 5432)",
    )
    parser.add_argument(
        "--database-conn-type",
        action="append",
        metavar="TYPE",
        help="a connection type that is a database behind the pooler (default: postgres)",
    )
    parser.add_argument(
        "--max-prepared-statements",
        metavar="N",
        help="the pooler's setting; with 0, which tracks none, AIR006 is checked (default: 200)",
    )
    parser.add_argument(
        "--airflow",
        type=int,
        choices=(2, 3),
        help="the Airflow that the files are for: it decides .airflowignore's syntax and whether "
        "`with get_conn()` closes (default: the installed one, else 3)",
    )
    parser.add_argument("--select", action="append", metavar="RULE", help="only these rules")
    parser.add_argument("--ignore", action="append", metavar="RULE", help="all but these rules")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files, by a pattern as .gitignore's, from DAGS_FOLDER on",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--sarif",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write SARIF 2.1.0 for code scanning; without FILE it is printed instead of a table",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check and print; exit code 0 clean, 1 findings, 2 it couldn't be checked."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        policy, syntax = _policy_of(arguments)
        rules = _rules_of(arguments)
        folder = Folder(arguments.folder, syntax, _patterns_of(arguments.exclude))
        sources = _sources_of(folder, arguments.files)
        with_progress = _progress(len(sources))
        result = check_folder(folder, sources, policy, rules, with_progress)
        _print(result, arguments)
    except (SettingError, OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"pgmux-airflow check: {report.printable(_text_of(error))}", file=sys.stderr)
        return 2
    return 1 if result.findings else 0


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _policy_of(arguments: argparse.Namespace) -> tuple[Policy, str]:
    """What options say, else configuration. Raises: SettingError."""
    settings = AirflowSettings(os.environ)
    airflow = arguments.airflow or installed_airflow() or 3
    policy = read_policy(settings, airflow)
    if arguments.pool:
        policy = replace(policy, pools=split_names(",".join(arguments.pool), "--pool"))
    if arguments.direct_port:
        ports = split_ports(",".join(arguments.direct_port), "--direct-port")
        policy = replace(policy, direct_ports=ports)
    if arguments.database_conn_type:
        types = split_names(",".join(arguments.database_conn_type), "--database-conn-type")
        policy = replace(policy, database_conn_types=types)
    if arguments.max_prepared_statements is not None:
        count = read_count(arguments.max_prepared_statements, "--max-prepared-statements")
        policy = replace(policy, max_prepared_statements=count)
    return policy, read_syntax(settings, airflow)


def _rules_of(arguments: argparse.Namespace) -> list[str]:
    """The ids that are reported. Raises: SettingError for one that there isn't."""
    selected = _ids(arguments.select, "--select") or _CHECKED
    ignored = _ids(arguments.ignore, "--ignore")
    return [each for each in selected if each not in ignored]


def _ids(given: Sequence[str] | None, option: str) -> list[str]:
    ids = list(split_names(",".join(given), option)) if given else []
    for each in ids:
        if each not in _CHECKED:
            raise SettingError(f"{option} {each}: the rules are {', '.join(_CHECKED)}")
    return ids


def _patterns_of(excluded: Sequence[str]) -> list[Pattern]:
    return [build_glob(each, PurePosixPath()) for each in excluded]


def _sources_of(folder: Folder, files: Sequence[Path]) -> list[Source]:
    """What is to be checked. Raises: OSError, ValueError where there is nothing."""
    if not folder.path.is_dir():
        folder.path.stat()  # which says why, if it is missing
        raise ValueError(f"{folder.path} isn't a folder; name the file behind its DAGs folder")
    if files:
        return [source for path in files for source in folder.source(path)]
    next(os.scandir(folder.path), None)  # raises where it can't be read
    sources = list(folder.sources())
    if not sources:
        raise ValueError(f"there is no Python file to check in {folder.path}")
    return sources


def _progress(total: int) -> Callable[[int], None]:
    """Says on a terminal's last line how far it is; silent elsewhere."""
    if total < 50 or not sys.stderr.isatty():
        return lambda done: None

    def show(done: int) -> None:
        if done % 10 == 0 or done == total - 1:
            end = "\r" if done < total - 1 else "\r\033[K"
            print(f"checking {done + 1} of {total} files", end=end, file=sys.stderr, flush=True)

    return show


def _print(result: Result, arguments: argparse.Namespace) -> None:
    if arguments.sarif is not None:
        text = write_sarif(result, arguments.folder)
        if arguments.sarif == "-":
            sys.stdout.write(text)
            return
        Path(arguments.sarif).write_text(text, encoding="utf-8")
    if arguments.json:
        report.print_json(result, sys.stdout)
    else:
        report.print_table(result, sys.stdout)
