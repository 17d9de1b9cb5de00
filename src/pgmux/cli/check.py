"""`pgmux check`: what is wrong with a deployment of pgmux or PgBouncer, and what to do about it.

Exit codes: 0 good; 1 warnings; 3 errors; 2 nothing could be judged.
"""

from __future__ import annotations

import sys

import click

from pgmux.cli.where import json_option
from pgmux.ops.check.evidence import Evidence, Unread
from pgmux.ops.check.gather import configuration
from pgmux.ops.check.judge import judge
from pgmux.ops.check.report import json_of, print_report
from pgmux.ops.check.rules import RULES
from pgmux.ops.printing import terminal
from pgmux.ops.severity import exit_code


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config_file", default="/etc/pgbouncer/pgbouncer.ini")
@json_option
def command(config_file: str, as_json: bool) -> None:
    """Look for what is wrong with a deployment, of pgmux or PgBouncer.

    \b
    pgmux check /etc/pgbouncer/pgbouncer.ini
    """
    config = configuration.gather(config_file)
    unread = (config,) if isinstance(config, Unread) else ()
    evidence = Evidence(config_file, None if isinstance(config, Unread) else config, unread=unread)
    report = judge(evidence, RULES)
    if as_json:
        click.echo(json_of(report))
    else:
        print_report(report, terminal())
    sys.exit(exit_code(finding.severity for finding in report.findings))
