"""What a Unix daemon does to itself: its name, its user, its background.

Source: PgBouncer 1.25.2's order and texts. Errors: `StartError`, whose text is the FATAL line.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
from importlib import import_module

from pgmux.daemon.extras import EXTRAS
from pgmux.errors import PgmuxError

_PR_SET_PDEATHSIG = 1  # prctl(2)


class StartError(PgmuxError):
    """The process can't run as asked; the text is what the FATAL log line says."""


def set_comm(name: str) -> None:
    """Make `name` what ps, pkill and `killall` know this process by; outside Linux do nothing.

    A script gets its own name from the kernel, but not as `python -m`, nor where a long path makes
    it go through /bin/sh. To be called before setuid, after which the file is root's.
    """
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name)


def end_with_parent() -> None:
    """Be killed when the parent ends, also if stuck by then; outside Linux do nothing."""
    import ctypes  # the pooler itself does without

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hold_standard_streams() -> None:
    """Give file descriptors 0 to 2 to /dev/null where they are closed.

    Otherwise a connection would get one of them, and with it our log lines.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one


def end_on_early_signals() -> None:
    """Have a signal end the start: without a traceback, and also where this is process 1 of a
    container. The kernel drops there what has no handler, and the container would be killed when
    its time for stopping is over.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() == 1:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(signum, lambda signum, _: os._exit(128 + signum))


# What Python imports only when it is first needed: host names, tracebacks, groups, threads.
_LATE_MODULES = ("encodings.idna", "traceback", "grp", "concurrent.futures.thread")


def import_late_modules() -> None:
    """Import what would fail later, where the user to become can't read Python's library.

    It is so wherever Python lives in root's home, as with pyenv.
    """
    for name in _LATE_MODULES:
        import_module(name)
    for extra in EXTRAS:  # a RELOAD may want them
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import_module(extra.module)


def change_user(user: str) -> None:
    """Become `user` for good, with all groups that the user is in. Raises: StartError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise StartError(f"could not find user '{user}' to switch to") from None
    try:
        if os.getuid() == 0:
            os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise StartError(f"failed to assume identity of user '{user}': {error.strerror}") from error


def refuse_root() -> None:
    """Raises: StartError where this process still has root's powers."""
    if os.getuid() == 0:
        raise StartError("PgBouncer should not run as root")


def refuse_second_process(unix_socket_dir: str, listen_port: int) -> None:
    """Raises: StartError where something answers on the Unix socket that is to be ours."""
    if not unix_socket_dir:
        return
    address = f"{unix_socket_dir}/.s.PGSQL.{listen_port}"
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)  # a stopped process with a full backlog would block for ever
        try:
            probe.connect(address)
        except TimeoutError:
            pass
        except OSError:
            return
    raise StartError("unix socket is in use, cannot continue")


def daemonize() -> None:
    """Return in a process without terminal and standard streams. Raises: StartError."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if null > 2:
        os.close(null)
    _continue_in_child()
    os.setsid()
    _continue_in_child()  # a session leader could be given a terminal again


def _continue_in_child() -> None:
    try:
        pid = os.fork()
    except OSError as error:
        raise StartError(f"fork failed: {error.strerror}") from error
    if pid > 0:
        os._exit(0)
