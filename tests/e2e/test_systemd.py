"""Under a service manager: what a real process tells it, and the sockets that it is given.

The manager is the test: it reads the datagrams, and opens the sockets. The units of deploy/systemd
are checked by systemd's own tool where that is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.pooler import DEFAULTS, Pooler
from tests.fixtures.waiting import wait_until

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


# What a manager does between fork and exec: descriptors in a row, and the process's own id.
BECOME = """
import os, sys
numbers = [os.dup(int(number)) for number in sys.argv[1].split(",") if number]
numbers = [number + 100 for number in numbers if os.dup2(number, number + 100)]
for at, number in enumerate(numbers):
    os.dup2(number, 3 + at)
os.environ["LISTEN_FDS"] = str(len(numbers))
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """What the process tells."""

    def __init__(self) -> None:
        self.address = f"@pgmux-test-{os.getpid()}"  # abstract: its user may not enter directories
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self._socket.settimeout(10)

    def until(self, start: str, unless: Sequence[str] = ()) -> str:
        """The next message that begins so; none of the others may come before."""
        while not (message := self._socket.recv(1000).decode()).startswith(start):
            assert not message.startswith(tuple(unless) or ("none",))
        return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with closing(Manager()) as manager:
        yield manager


class Service(Pooler):
    """A pooler as a service: with a manager's variables, and its sockets from descriptor 3 on."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        environment: dict[str, str],
        sockets: Sequence[socket.socket] = (),
        **settings: object,
    ) -> None:
        super().__init__(server, {"*": ""}, DEFAULTS | settings, {}, {})
        self._environment = environment
        self._sockets = sockets

    def spawn(self, command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        numbers = [sock.fileno() for sock in self._sockets]
        return subprocess.Popen(
            [sys.executable, "-c", BECOME, ",".join(map(str, numbers)), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=numbers,
            env=os.environ | self._environment,
        )

    def has_ended(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


# What the manager is told


def test_a_manager_hears_of_ready_reloads_good_or_bad_and_the_end(
    postgres: EmbeddedPostgres, manager: Manager
) -> None:
    with Service(postgres, {"NOTIFY_SOCKET": manager.address}, stats_period=1) as service:
        manager.until("READY=1")
        for setting in ("query_timeout", "no_such_setting"):
            service.settings[setting] = 1
            service.write_configuration()
            service.send_signal(signal.SIGHUP)
            reloading = manager.until("RELOADING=1", unless=["READY"])
            assert "\nMONOTONIC_USEC=" in reloading
            manager.until("READY=1", unless=["STOPPING"])
        assert "config file loading failed" in service.log()
        manager.until("STATUS=stats: ")
        with closing(psycopg.connect(service.dsn("pgbouncer"), autocommit=True)) as admin:
            admin.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            manager.until("STOPPING=1")


def test_a_watchdog_sees_life_and_its_abort_says_where_the_loop_is(
    postgres: EmbeddedPostgres, manager: Manager
) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    with Service(postgres, environment) as service:
        manager.until("READY=1")
        for _ in range(3):
            manager.until("WATCHDOG=1")
        service.send_signal(signal.SIGABRT)
        wait_until(service.has_ended)
        assert "Fatal Python error: Aborted" in service.log()
        assert "most recent call first" in service.log()


# Socket activation


@contextmanager
def manager_sockets(path: Path) -> Iterator[list[socket.socket]]:
    """What a .socket unit would open."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        path.chmod(0o777)
        unix.listen()
        yield [tcp, unix]


def test_the_managers_sockets_are_used_and_outlive_the_process(postgres: EmbeddedPostgres) -> None:
    directory = Path(f"/tmp/pgmux-test-{os.getpid()}")
    with ExitStack() as stack:
        directory.mkdir()
        stack.callback(shutil.rmtree, directory)
        path = directory / ".s.PGSQL.6432"
        sockets = stack.enter_context(manager_sockets(path))
        port = sockets[0].getsockname()[1]

        def start() -> Service:
            service = Service(postgres, {}, sockets, listen_port=6432)
            service.port = port
            return stack.enter_context(service)

        def ask(where: str) -> object:
            with closing(psycopg.connect(f"user=postgres dbname=postgres {where}")) as client:
                return client.execute("SELECT 1").fetchone()

        first = start()
        assert ask(f"host=127.0.0.1 port={port}") == (1,)
        assert ask(f"host={directory} port=6432") == (1,)
        assert "sockets passed from service manager, listen_addr ignored" in first.log()
        first.send_signal(signal.SIGTERM)
        wait_until(first.has_ended)
        assert path.exists()
        with socket.create_connection(("127.0.0.1", port)) as waiting:  # nobody is there
            start()
            waiting.settimeout(10)
            waiting.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest
            assert waiting.recv(1) == b"N"


def test_a_descriptor_that_is_no_listening_socket_keeps_it_from_starting(
    postgres: EmbeddedPostgres,
) -> None:
    with socket.socket() as sock, pytest.raises(Exception, match=r"\(fd 3\): it is no listening"):
        Service(postgres, {}, [sock]).start()


# The units


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", ["pgmux.service", "pgmux.socket", "pgmux@.service"])
def test_systemd_has_nothing_to_say_against_the_units(unit: str, tmp_path: Path) -> None:
    for each in UNITS.glob("pgmux*"):
        text = each.read_text().replace("/opt/pgmux/bin/pgmux", "/bin/true")
        (tmp_path / each.name).write_text(text)
    name = unit.replace("@.", "@1.")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
