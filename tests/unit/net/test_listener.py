"""Where the pooler listens, what it says about it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pgmux.config.model import Settings
from pgmux.net import drain
from pgmux.net import listener as listener_module
from pgmux.net.drain import kernel_migrates, take_no_handshake
from pgmux.net.listener import Listener, ListenError
from pgmux.net.loop import Loop
from tests.unit.net.conftest import RecordingLog, Run

IN_USE = "(address in use: stop the process that has it, or change listen_port)"


def has_filters() -> bool:
    """Whether the system lets a listening socket stop taking connects."""
    with socket.socket() as sock:
        return take_no_handshake(sock) and not kernel_migrates()


needs_filters = pytest.mark.skipif(not has_filters(), reason="no socket filters here")


class Greeting(asyncio.Protocol):
    """Tells every client an option of its socket, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        sock = self.transport.get_extra_info("socket")
        keepidle = b""
        if sock.family != socket.AF_UNIX:
            keepidle = b"%d" % sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        self.transport.write(b"hello " + keepidle)
        self.transport.close()


@pytest.fixture
def port() -> int:
    """One that was free a moment ago, on both families."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def ask(target: tuple[str, int] | str) -> bytes:
    """What the listener at `target` answers; raises OSError where nobody listens."""
    family = socket.AF_UNIX
    if isinstance(target, tuple):
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    loop = asyncio.get_running_loop()
    with socket.socket(family) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, target)
        await loop.sock_sendall(sock, b"x")
        return await loop.sock_recv(sock, 100)


def tcp_settings(port: int, *hosts: str, **values: object) -> Settings:
    fields = {"listen_addr": hosts, "listen_port": port, "unix_socket_dir": "", **values}
    return Settings(**fields)  # type: ignore[arg-type]


def refusal(run: Run, settings: Settings, log: RecordingLog) -> str:
    """The text of the ListenError that starting raises."""
    caught: list[str] = []

    async def scenario() -> None:
        with pytest.raises(ListenError) as error:
            await Listener(settings, log, Greeting).start()
        caught.append(str(error.value))

    run(scenario())
    return caught[0]


def test_it_listens_on_every_address_of_the_list(run: Run, log: RecordingLog, port: int) -> None:
    async def scenario() -> None:
        listener = Listener(tcp_settings(port, "127.0.0.1", "::1"), log, Greeting)
        await listener.start()
        assert (await ask(("127.0.0.1", port))).startswith(b"hello")
        assert (await ask(("::1", port))).startswith(b"hello")
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(("127.0.0.1", port))

    run(scenario())
    texts = [f"listening on 127.0.0.1:{port}", f"listening on [::1]:{port}"]
    assert log.lines == [("LOG", text) for text in texts]


def test_a_star_is_every_address_of_both_families(run: Run, log: RecordingLog, port: int) -> None:
    async def scenario() -> None:
        listener = Listener(tcp_settings(port, "*"), log, Greeting)
        await listener.start()
        assert (await ask(("127.0.0.2", port))).startswith(b"hello")
        assert (await ask(("::1", port))).startswith(b"hello")
        listener.close()

    run(scenario())
    assert {text for _, text in log.lines} == {
        f"listening on 0.0.0.0:{port}",
        f"listening on [::]:{port}",
    }


def test_one_address_that_cannot_be_had_is_a_warning(
    run: Run, log: RecordingLog, port: int
) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", port)):
            listener = Listener(tcp_settings(port, "127.0.0.1", "127.0.0.2"), log, Greeting)
            await listener.start()
            assert (await ask(("127.0.0.2", port))).startswith(b"hello")
            listener.close()

    run(scenario())
    assert log.lines == [
        ("WARNING", f"cannot listen on 127.0.0.1:{port}: bind(): Address already in use"),
        ("LOG", f"listening on 127.0.0.2:{port}"),
    ]


def test_no_address_at_all_is_an_error(run: Run, log: RecordingLog, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        text = refusal(run, tcp_settings(port, "127.0.0.1"), log)
    assert text == f"failed to listen on any address in listen_addr list: 127.0.0.1 {IN_USE}"


def test_a_name_that_means_nothing_is_an_error(run: Run, log: RecordingLog, port: int) -> None:
    text = refusal(run, tcp_settings(port, "no host"), log)
    assert text.startswith(f"getaddrinfo('no host', '{port}') = ")


def test_listening_nowhere_is_an_error(run: Run, log: RecordingLog, port: int) -> None:
    assert refusal(run, tcp_settings(port), log) == "nowhere to listen on"


def test_so_reuseport_lets_two_have_one_port(run: Run, log: RecordingLog, port: int) -> None:
    async def scenario() -> None:
        settings = tcp_settings(port, "127.0.0.1", so_reuseport=True)
        listeners = [Listener(settings, log, Greeting) for _ in range(2)]
        for listener in listeners:
            await listener.start()
        listeners[0].close()
        assert (await ask(("127.0.0.1", port))).startswith(b"hello")
        listeners[1].close()

    run(scenario())


def test_accepted_sockets_have_the_listening_ones_options(
    run: Run, log: RecordingLog, port: int
) -> None:
    async def scenario() -> None:
        listener = Listener(tcp_settings(port, "127.0.0.1", tcp_keepidle=77), log, Greeting)
        await listener.start()
        assert await ask(("127.0.0.1", port)) == b"hello 77"
        listener.tune(tcp_settings(port, "127.0.0.1", tcp_keepidle=78))
        assert await ask(("127.0.0.1", port)) == b"hello 78"
        listener.close()

    run(scenario())


def test_options_that_cannot_be_set_anew_are_a_warning(
    run: Run, log: RecordingLog, port: int
) -> None:
    async def scenario() -> None:
        listener = Listener(tcp_settings(port, "127.0.0.1"), log, Greeting)
        await listener.start()
        listener.tune(tcp_settings(port, "127.0.0.1", tcp_keepcnt=100_000))
        listener.close()

    run(scenario())
    assert log.lines[-1] == ("WARNING", "cannot set socket options: Invalid argument")


def test_closing_tcp_leaves_the_unix_socket(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    async def scenario() -> None:
        settings = tcp_settings(port, "127.0.0.1", unix_socket_dir=str(tmp_path))
        listener = Listener(settings, log, Greeting)
        await listener.start()
        listener.close_tcp()
        with pytest.raises(ConnectionRefusedError):
            await ask(("127.0.0.1", port))
        assert await ask(f"{tmp_path}/.s.PGSQL.{port}") == b"hello "
        listener.close()
        assert os.listdir(tmp_path) == []

    run(scenario())
    assert log.lines[-1] == ("LOG", f"listening on unix:{tmp_path}/.s.PGSQL.{port}")


def with_unix_socket(
    run: Run, log: RecordingLog, settings: Settings, check: Callable[[Listener], None]
) -> None:
    async def scenario() -> None:
        listener = Listener(settings, log, Greeting)
        await listener.start()
        check(listener)
        listener.close()

    run(scenario())


def test_the_unix_socket_gets_its_mode_and_group(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    settings = tcp_settings(
        port,
        unix_socket_dir=str(tmp_path),
        unix_socket_mode=0o710,
        unix_socket_group=str(os.getgid()),
    )

    def check(listener: Listener) -> None:
        entry = os.stat(tmp_path / f".s.PGSQL.{port}")
        assert stat.S_IMODE(entry.st_mode) == 0o710
        assert entry.st_gid == os.getgid()

    with_unix_socket(run, log, settings, check)


def test_a_group_that_does_not_exist_is_an_error(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    settings = tcp_settings(port, unix_socket_dir=str(tmp_path), unix_socket_group="no such group")
    assert refusal(run, settings, log).startswith("could not find group 'no such group'")
    assert os.listdir(tmp_path) == []


def test_a_socket_file_left_behind_is_replaced(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    path = tmp_path / f".s.PGSQL.{port}"
    path.write_text("stale")
    settings = tcp_settings(port, unix_socket_dir=str(tmp_path))
    modes: list[int] = []
    with_unix_socket(run, log, settings, lambda _: modes.append(path.stat().st_mode))
    assert stat.S_ISSOCK(modes[0])


def test_a_lock_file_means_that_the_port_is_in_use(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    (tmp_path / f".s.PGSQL.{port}.lock").touch()
    text = refusal(run, tcp_settings(port, unix_socket_dir=str(tmp_path)), log)
    assert text == f"unix port {port} is in use"


def test_another_processs_socket_file_stays(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    path = tmp_path / f".s.PGSQL.{port}"

    def replace_file(listener: Listener) -> None:
        path.rename(tmp_path / "ours")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))

    with_unix_socket(run, log, tcp_settings(port, unix_socket_dir=str(tmp_path)), replace_file)
    assert path.exists()


def test_a_directory_that_does_not_exist_is_an_error(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    settings = tcp_settings(port, "127.0.0.1", unix_socket_dir=f"{tmp_path}/no")
    assert refusal(run, settings, log) == "failed to create unix socket"
    why = os.strerror(errno.ENOENT)
    place = f"unix:{tmp_path}/no/.s.PGSQL.{port}"
    assert log.lines[-1] == ("WARNING", f"cannot listen on {place}: bind(): {why}")
    with socket.create_server(("127.0.0.1", port)):
        pass  # the TCP socket has been closed again


def test_a_path_too_long_for_a_unix_socket_is_an_error(
    run: Run, log: RecordingLog, port: int
) -> None:
    settings = tcp_settings(port, unix_socket_dir="/" + "x" * 120)
    assert refusal(run, settings, log) == "failed to create unix socket"
    assert log.lines[-1][1].endswith("bind(): AF_UNIX path too long")


def test_an_abstract_name_needs_no_file(run: Run, log: RecordingLog, port: int) -> None:
    async def scenario() -> None:
        directory = f"@pgmux-test-{os.getpid()}"
        listener = Listener(tcp_settings(port, unix_socket_dir=directory), log, Greeting)
        await listener.start()
        assert await ask(f"\0{directory[1:]}/.s.PGSQL.{port}") == b"hello "
        listener.close()
        assert log.lines == [("LOG", f"listening on unix:{directory}/.s.PGSQL.{port}")]

    run(scenario())


# The end of a listener


@pytest.mark.parametrize("others", [False, True])
def test_what_waits_to_be_accepted_when_it_closes_is_served(
    run: Run, log: RecordingLog, port: int, others: bool
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        if not others and not isinstance(loop, Loop):
            return  # other loops can't accept at once, and where nobody follows there is no time
        listener = Listener(tcp_settings(port, "127.0.0.1", so_reuseport=others), log, Greeting)
        await listener.start()
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for sock in socks:
            sock.sendall(b"x")
            sock.setblocking(False)
        listener.close_tcp()
        assert listener.is_draining == (others and not kernel_migrates())
        for sock in socks:
            assert (await loop.sock_recv(sock, 100)).startswith(b"hello")
            sock.close()
        listener.close()

    run(scenario())


@pytest.mark.parametrize("migrates", [False, True])
def test_where_no_filter_may_be_set_the_log_says_what_to_do_unless_it_is_done(
    run: Run,
    log: RecordingLog,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    migrates: bool,
) -> None:
    monkeypatch.setattr(listener_module, "take_no_handshake", lambda sock: False)
    monkeypatch.setattr(listener_module, "DRAIN", 0.1)
    monkeypatch.setattr(drain, "MIGRATE", str(tmp_path / "migrate"))
    (tmp_path / "migrate").write_text(f"{migrates:d}\n")

    async def scenario() -> None:
        listener = Listener(tcp_settings(port, "127.0.0.1", so_reuseport=True), log, Greeting)
        await listener.start()
        listener.close_tcp()
        assert listener.is_draining != migrates
        if not migrates:  # whoever comes is served to the end
            assert (await ask(("127.0.0.1", port))).startswith(b"hello")
        while listener.is_draining:
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionRefusedError):
            await ask(("127.0.0.1", port))

    run(scenario())
    advice = "sysctl net.ipv4.tcp_migrate_req=1 prevents it"
    assert [advice in text for text in log.warnings] == ([] if migrates else [True])


@needs_filters
def test_where_others_have_the_port_no_connect_is_lost(
    run: Run, log: RecordingLog, port: int
) -> None:
    async def scenario() -> None:
        settings = tcp_settings(port, "127.0.0.1", so_reuseport=True)
        first, second = Listener(settings, log, Greeting), Listener(settings, log, Greeting)
        await first.start()
        await second.start()
        early = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for sock in early:  # has spoken: it depends on nobody's time
            sock.sendall(b"x")
            sock.setblocking(False)
        first.close_tcp()
        late = [asyncio.create_task(ask(("127.0.0.1", port))) for _ in range(50)]
        loop = asyncio.get_running_loop()
        answers = [await loop.sock_recv(sock, 100) for sock in early]
        answers += await asyncio.gather(*late)
        assert all(answer.startswith(b"hello") for answer in answers)
        for sock in early:
            sock.close()
        assert not first.is_draining
        second.close()

    run(scenario())


# A service manager's sockets


def test_sockets_of_a_service_manager_are_listened_on_instead_of_the_settings(
    run: Run, log: RecordingLog, port: int, tmp_path: Path
) -> None:
    path = str(tmp_path / "unix")

    async def scenario() -> None:
        given = (socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX))
        given[1].bind(path)
        given[1].listen()
        place, numbers = given[0].getsockname(), [sock.fileno() for sock in given]
        settings = tcp_settings(port, "127.0.0.1", unix_socket_dir="/nonexistent", tcp_keepidle=77)
        listener = Listener(settings, log, Greeting, given)
        await listener.start()
        assert await ask(place) == b"hello 77"
        assert await ask(path) == b"hello "
        with pytest.raises(ConnectionRefusedError):
            await ask(("127.0.0.1", port))
        listener.close()
        assert log.lines == [
            ("WARNING", "sockets passed from service manager, listen_addr ignored"),
            ("WARNING", "sockets passed from service manager, unix_socket_dir ignored"),
            *(("LOG", f"socket passed from service manager (fd {n})") for n in numbers),
        ]

    run(scenario())
    assert os.path.exists(path)  # not ours to remove


def test_what_waits_at_a_service_managers_socket_is_served_by_the_next_process(
    run: Run, log: RecordingLog
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        settings = tcp_settings(0, so_reuseport=True)
        with socket.create_server(("127.0.0.1", 0)) as managers:
            first = Listener(settings, log, Greeting, [managers.dup()])
            await first.start()
            first.close_tcp()
            assert not first.is_draining
            with socket.create_connection(managers.getsockname()) as client:
                client.setblocking(False)
                await loop.sock_sendall(client, b"x")
                second = Listener(settings, log, Greeting, [managers.dup()])
                await second.start()
                assert (await loop.sock_recv(client, 100)).startswith(b"hello")
                second.close()

    run(scenario())
