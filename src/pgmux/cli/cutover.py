"""`pgmux cutover`: applications moved from PostgreSQL's port to the pooler's."""

from __future__ import annotations

import click

from pgmux.cli.cutover_plan import plan
from pgmux.cli.cutover_report import report
from pgmux.cli.cutover_watch import record, watch


@click.group("cutover")
def command() -> None:
    """Move applications from PostgreSQL's port to the pooler's, one by one.

    \b
    pgmux cutover plan pgbouncer.ini       what to move first, and what not
    pgmux cutover record before.jsonl      how it was before
    pgmux cutover watch pgbouncer.ini      who still connects directly
    pgmux cutover report before.jsonl after.jsonl
    """


for each in (plan, watch, record, report):
    command.add_command(each)
