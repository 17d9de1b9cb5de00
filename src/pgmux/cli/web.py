"""`pgmux web`: metrics and health of a pooler by HTTP. Exit codes: 0; 1 where it can't serve."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import click

from pgmux.daemon.process import end_with_parent, set_comm
from pgmux.daemon.token_file import TokenFileError
from pgmux.monitor.console import ConninfoError
from pgmux.web.options import DEFAULT_LISTEN, Address, Options, parse_address

try:
    from pgmux.web.log import set_up_log
    from pgmux.web.server import serve
except ModuleNotFoundError as missing:
    raise click.ClickException(
        f"pgmux web needs {missing.name}: pip install 'pgmux[web]'"
    ) from missing

COMM = "pgmux-web"
# Less than the pooler's right to the CPU: a scrape of a thousand pools is a second's work.
NICENESS = 10


def read_address(ctx: click.Context, param: click.Parameter, value: str) -> Address:
    """The value of --listen."""
    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command("web")
@click.option("--console", metavar="CONNINFO", help="The console: host=… port=6432 user=stats.")
@click.option("--console-fd", metavar="N", type=click.IntRange(0), hidden=True)
@click.option(
    "--listen",
    metavar="ADDR:PORT",
    callback=read_address,
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where to serve; *:PORT is every address.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    help="A name by which this may be asked, besides addresses and names without a dot.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file, of mode 0600, with the token that commands need.",
)
@click.option("--token-from-pooler", is_flag=True, hidden=True)
@click.option("--admin-console", metavar="CONNINFO", help="Where commands go, by other rights.")
def command(
    console: str | None,
    console_fd: int | None,
    listen: Address,
    allowed_hosts: tuple[str, ...],
    token_file: Path | None,
    token_from_pooler: bool,
    admin_console: str | None,
) -> None:
    """Serve a dashboard, metrics and health of a pooler by HTTP, of pgmux or of PgBouncer.

    \b
    pgmux web --console "host=db1 port=6432 user=stats"
    curl http://127.0.0.1:9127/metrics

    It reads the console as a user of stats_users. The password comes from PGPASSWORD, ~/.pgpass or
    a service file. Serves a dashboard at /, and /metrics, /healthz and /readyz.
    """
    if (console is None) == (console_fd is None):
        raise click.UsageError('say where the console is: --console "host=… port=6432 user=…"')
    options = Options(
        listen=listen,
        console=console,
        console_fd=console_fd,
        admin_console=admin_console,
        token_file=token_file,
        token_from_pooler=token_from_pooler,
        allowed_hosts=frozenset(name.lower().rstrip(".") for name in allowed_hosts),
    )
    set_comm(COMM)
    if console_fd is not None:
        end_with_parent()
        os.nice(NICENESS)
    set_up_log(COMM)
    sys.exit(run(options))


def run(options: Options) -> int:
    """Serves until it is told to end; the exit code."""
    try:
        asyncio.run(serve(options))
    except ConninfoError as error:
        logging.error("%s", error)
    except TokenFileError as error:
        logging.error("the token file %s", error)
    except OSError as error:
        # asyncio's text has the address once more, in front of what is wrong with it.
        why = (error.strerror or str(error)).rpartition("): ")[2]
        logging.error("cannot listen on %s: %s", options.listen, why)
    else:
        return 0
    return 1
