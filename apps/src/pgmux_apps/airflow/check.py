"""`pgmux-airflow check`: the access policy, from the DAGs' source; Airflow needn't be installed."""

from __future__ import annotations

import argparse
import sys

NAME = "check"
HELP = "Check DAG files against the database access policy, without importing them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow `pgmux-airflow check`."""
    parser.add_argument("folder", metavar="DAGS_FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Check and print; exit code 0 clean, 1 findings, 2 it couldn't be checked."""
    print("pgmux-airflow check: not there yet", file=sys.stderr)
    return 2
