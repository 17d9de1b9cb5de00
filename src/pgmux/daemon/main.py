"""The daemon's main(): from the command line to a running pooler and back to an exit code.

The order is PgBouncer's (its main()), as each step decides who sees a failure and as which user a
file is made: configuration, TLS, user, root refused, log file, another process, pidfile,
background, listen, write the pidfile. But all modules are imported before the user changes, who may
not be able to read them.

Errors: none leaves `main`; what ends the process is a FATAL line and exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from pgmux import __version__, _pure
from pgmux.config import Config
from pgmux.config.model import Loop
from pgmux.daemon import pidfile, process, systemd
from pgmux.daemon.command_line import (
    REBOOT_IS_GONE,
    USAGE,
    Action,
    Options,
    UsageError,
    parse_command_line,
)
from pgmux.daemon.configuration import describe, read_configuration, say_problems
from pgmux.daemon.interpreter import Interpreter, KeptInterpreter
from pgmux.daemon.limits import file_descriptor_limits
from pgmux.daemon.log import Log, cannot_open
from pgmux.daemon.systemd import ServiceManager, find_service_manager
from pgmux.daemon.version import PGBOUNCER
from pgmux.errors import ConfigError, PgmuxError
from pgmux.net.tls_context import Tls, TlsSetupError, load_tls

SIGNALS = ("HUP", "TERM", "INT", "QUIT", "USR1", "USR2")


class Application(Protocol):
    """The pooler, as process life needs it (`pgmux.daemon.app.App`)."""

    async def start(self) -> None:
        """Listen. Raises: PgmuxError or OSError, whose text becomes the FATAL line."""

    def on_signal(self, name: str) -> None:
        """Do what PgBouncer does on SIG`name`; called in the loop, after `start`."""

    async def wait_closed(self) -> int:
        """Return the exit code once the pooler has shut down."""


# The third is what reads a configuration anew: from the file that it is given.
MakeApplication = Callable[
    [Config, Tls, Callable[[str], Config], Log, ServiceManager, Interpreter], Application
]


def main(argv: list[str], prog: str) -> int:
    """Do what `argv` (without the program's name) asks for; return the exit code, if at all.

    `prog` is the name in messages; its first word becomes the process's name.
    """
    process.set_comm(prog.partition(" ")[0])
    try:
        options = parse_command_line(argv)
    except UsageError as error:
        print(f'{prog}: {error}\nTry "{prog} --help" for more information.', file=sys.stderr)
        return 1
    match options.action:
        case Action.HELP:
            print(USAGE.format(prog=prog), end="")
        case Action.VERSION:
            from pgmux.daemon.version import version_lines

            print(*version_lines(), sep="\n")
        case Action.REBOOT:
            print(f"{prog}: {REBOOT_IS_GONE}", file=sys.stderr)
            return 1
        case Action.CHECK:
            from pgmux.daemon.check import check

            return check(options)
        case Action.RUN:
            from pgmux.daemon.app import App

            return run(options, App)
    return 0


def run(options: Options, make_application: MakeApplication) -> int:
    """Run the pooler and end the process with its exit code; return 1 if it can't be run."""
    process.hold_standard_streams()
    log = Log(verbose=options.verbose, quiet=options.quiet)
    try:
        config = read_configuration(options)
        tls = load_tls(config.settings)  # before the user changes: a key may be root's
        new_event_loop = _find_event_loop(config)
        banner = f"process up: {PGBOUNCER}, pgmux {__version__} ({_pure.form()})"
        manager, interpreter = _become_daemon(config, options, log)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            if new_event_loop is asyncio.new_event_loop:
                log.warning("running on asyncio's event loop: it costs four times the others' CPU")
            reload = functools.partial(_reload, options, log)
            make = functools.partial(
                make_application, config, tls, reload, log, manager, interpreter
            )
            code = runner.run(_serve(config, log, make, manager, banner))
            # Leaving in the ordinary way waits for threads that compute somebody's password.
            os._exit(code)
    except ConfigError as error:
        log.set_quiet(False)  # the file that names another place can't be used
        for problem in error.problems:
            log.error(describe(problem))
        is_tls = isinstance(error, TlsSetupError)
        log.fatal("TLS setup failed" if is_tls else "cannot load config file")
    except (PgmuxError, OSError) as error:
        log.fatal(str(error))
    except Exception as error:
        log.exception("internal error, the process ends", error)
    return 1


def _find_event_loop(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    """The one asked for, or the next best where the system or the installation doesn't have it."""
    if config.pgmux.loop is Loop.EPOLL and hasattr(select, "epoll"):
        from pgmux.net import loop

        return loop.Loop
    if config.pgmux.loop is not Loop.ASYNCIO:
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _become_daemon(
    config: Config, options: Options, log: Log
) -> tuple[ServiceManager, Interpreter]:
    """Everything between a good configuration and listening. Raises: StartError."""
    settings = config.settings
    interpreter = Interpreter()
    user = settings.user if options.user is None else options.user
    if user:
        process.import_late_modules()
        kept = KeptInterpreter()
        process.change_user(user)
        interpreter = kept.release()
    process.refuse_root()
    try:
        log.use_file(settings.logfile)
    except OSError as error:
        log.set_quiet(False)  # there is no other place to say it
        raise process.StartError(cannot_open(settings.logfile, error)) from error
    log.configure(settings, config.pgmux)
    say_problems(config, log)
    manager = find_service_manager(os.environ, os.getpid())
    if not manager.sockets:
        process.refuse_second_process(settings.unix_socket_dir, settings.listen_port)
    if settings.pidfile:
        pidfile.check(settings.pidfile, log)
    if options.daemon:
        if not settings.pidfile:
            raise process.StartError("daemon needs pidfile configured")
        log.set_quiet(True)
        process.daemonize()
    return manager, interpreter


def _reload(options: Options, log: Log, config_file: str) -> Config:
    """Open the log file again, which logrotate may have moved away, and read the configuration.

    `config_file` is the setting conffile, which SET may have changed. Raises: ConfigError.
    """
    log.reopen()
    return read_configuration(replace(options, config_file=config_file))


async def _serve(
    config: Config,
    log: Log,
    make_application: Callable[[], Application],
    manager: ServiceManager,
    banner: str,
) -> int:
    """Listen, then run till the application has shut down; return its exit code."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(functools.partial(_on_exception, log))
    if manager.watchdog:
        faulthandler.enable(2, all_threads=False)  # SIGABRT then says where the loop is stuck
    application = make_application()
    log.log(file_descriptor_limits(config))
    await application.start()
    for name in SIGNALS:
        signum = getattr(signal, f"SIG{name}")
        loop.add_signal_handler(signum, _on_signal, application, manager, name)
    path = config.settings.pidfile
    if path:
        pidfile.write(path)
    try:
        log.log(banner)
        manager.notify(systemd.READY)
        return await application.wait_closed()
    finally:
        log.say_suppressed(all_=True)
        if path:
            pidfile.remove(path)


def _on_signal(application: Application, manager: ServiceManager, name: str) -> None:
    if name != "HUP":
        application.on_signal(name)
        return
    manager.notify(systemd.reloading())
    try:
        application.on_signal(name)
    finally:
        manager.notify(systemd.READY)  # with the new configuration or the old one


def _on_exception(log: Log, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print: a callback of ours failed, and the process goes on."""
    message = context.get("message", "exception in the event loop")
    error = context.get("exception")
    if error is None:
        log.error(message)
    else:
        log.exception(message, error)
