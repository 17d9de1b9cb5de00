"""`pgmux-airflow pool`: the Airflow pool that limits the tasks which use the database.

Says which slots fit the pooler, what pool there is, and the command that makes it so; `--set` does
it. Exit code: 0 the pool is right (or is now), 1 it isn't, 2 it couldn't be found out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from pgmux_apps.airflow import installed, pooler_sizes
from pgmux_apps.airflow.checker.settings import installed_airflow
from pgmux_apps.airflow.installed import AirflowError, Pool
from pgmux_apps.airflow.sizing import advised_slots, slots_arithmetic

NAME = "pool"
HELP = "Print or set the Airflow pool that limits the tasks which use the database."
DESCRIPTION = "Limited by pgmux-airflow: tasks that use the database"
DEFAULT_NAME = "db_pool"
LONGEST_NAME = 256  # Airflow's column


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow `pgmux-airflow pool`."""
    add_pool_name(parser)
    parser.add_argument(
        "--slots", type=_slots, metavar="N", help="-1: unlimited; default: what fits the pooler"
    )
    parser.add_argument("--set", action="store_true", help="set the pool in Airflow's database")
    parser.add_argument("--json", action="store_true", help="print JSON")
    pooler_sizes.add_arguments(parser)


def add_pool_name(parser: argparse.ArgumentParser) -> None:
    """The options that `pool` and `advice` share."""
    parser.add_argument(
        "--name", type=_name, help="default: the first of [pgmux] pool in airflow.cfg, or db_pool"
    )
    parser.add_argument(
        "--connections-per-task",
        type=positive,
        default=1,
        metavar="N",
        help="how many connections one task has open at once; default: 1",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look, say, and with --set change; the exit code."""
    try:
        wanted, why = _wanted(arguments)
    except (pooler_sizes.SizesError, AirflowError) as error:
        return _failed(str(error))
    existing, error_text = _existing(wanted.name)
    if existing is not None:  # only the slots are ours to say
        wanted = Pool(wanted.name, wanted.slots, existing.description, existing.include_deferred)
    is_right = existing is not None and existing.slots == wanted.slots
    if arguments.set:
        if error_text is not None:
            return _failed(error_text)
        if not is_right:
            try:
                installed.set_pool(wanted)
            except AirflowError as error:
                return _failed(str(error))
    if arguments.json:
        _print_json(existing, wanted, why, error_text, is_set=arguments.set and not is_right)
    else:
        _print_text(existing, wanted, why, error_text, is_set=arguments.set)
    if error_text is not None:
        return 2
    return 0 if is_right or arguments.set else 1


def pool_name(given: str | None) -> str:
    """The pool that is meant. Raises: AirflowError."""
    named = given or (installed.setting("pgmux", "pool") or "").split(",")[0].strip()
    return named or DEFAULT_NAME


def command(pool: Pool) -> str:
    """The shell command that makes this pool, where Airflow's own command is."""
    parts = ["airflow", "pools", "set", pool.name, str(pool.slots), pool.description or DESCRIPTION]
    if pool.include_deferred:
        parts.append("--include-deferred")
    return " ".join(shlex.quote(part) for part in parts)


def _wanted(arguments: argparse.Namespace) -> tuple[Pool, str]:
    """The pool as it is to be, and why it has those slots. Raises: SizesError, AirflowError."""
    name = pool_name(arguments.name)
    slots, why = arguments.slots, "as --slots says"
    if slots is None:
        sizes, source = pooler_sizes.read(arguments)
        slots = advised_slots(sizes, arguments.connections_per_task)
        why = f"{slots_arithmetic(sizes, arguments.connections_per_task)} ({source})"
        if slots is None:
            raise pooler_sizes.SizesError(why)
    return Pool(name, slots, DESCRIPTION), why


def _existing(name: str) -> tuple[Pool | None, str | None]:
    """The pool that Airflow has, or why that isn't known."""
    if installed_airflow() is None:
        return None, "Airflow isn't installed here: run the command where it is"
    try:
        return installed.find_pool(name), None
    except AirflowError as error:
        return None, str(error)


def _print_text(
    existing: Pool | None, wanted: Pool, why: str, error: str | None, *, is_set: bool
) -> None:
    """The pool there is, the one advised, and the command."""
    if error is not None:
        print(f"now:      not known ({error})")
    elif existing is None:
        print(f"now:      no pool {wanted.name}")
    else:
        print(f"now:      {wanted.name}, {_slots_text(existing.slots)}")
    print(f"advised:  {wanted.name}, {_slots_text(wanted.slots)}: {why}")
    if existing is not None and existing.slots == wanted.slots:
        print("Nothing to change.")
    elif is_set:
        print(f"Set: {wanted.name}, {_slots_text(wanted.slots)}.")
    else:
        print(f"To set it: {command(wanted)}")


def _print_json(
    existing: Pool | None, wanted: Pool, why: str, error: str | None, *, is_set: bool
) -> None:
    answer = {
        "pool": wanted.name,
        "slots_now": None if existing is None else existing.slots,
        "slots": wanted.slots,
        "why": why,
        "command": command(wanted),
        "set": is_set,
        "error": error,
    }
    print(json.dumps(answer, indent=2))


def _slots_text(slots: int) -> str:
    return {-1: "unlimited slots", 1: "1 slot"}.get(slots, f"{slots} slots")


def _failed(message: str) -> int:
    print(f"pgmux-airflow pool: {message}", file=sys.stderr)
    return 2


def _slots(text: str) -> int:
    """For argparse. 0 would let no task run, which nobody means here."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number == 0 or not -1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to 1000000, or -1 for unlimited")
    return number


def positive(text: str) -> int:
    """For argparse."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a number, 1 or more, is accepted")
    return int(text)


def _name(text: str) -> str:
    """For argparse."""
    if not text.strip() or len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"a name of 1 to {LONGEST_NAME} characters is accepted")
    return text
