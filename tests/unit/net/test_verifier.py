"""Questions to LDAP and PAM: off the loop, bounded, and each server for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from pgmux.auth.outside import LdapLogin, OutsideLogin, PamLogin
from pgmux.config.ldap_options import parse_ldap_options
from pgmux.net.compute import TooManyJobs
from pgmux.net.verifier import MAX_STUCK, OVERHEAD, STUCK, Verifier
from tests.unit.net.conftest import Run


def ldap_login(server: str, user: str = "bob", password: bytes = b"pw") -> LdapLogin:
    return LdapLogin(parse_ldap_options(f"ldapserver={server} ldapbasedn=o"), user, password)


class Servers:
    """Answer with the user's name; `hanging` ones don't before `end()`."""

    def __init__(self, *hanging: str) -> None:
        self.hanging = hanging
        self.gate = threading.Event()
        self.asked: list[str] = []
        self.begun = threading.Semaphore(0)

    def verify(self, login: OutsideLogin) -> str:
        self.asked.append(login.user)
        self.begun.release()
        if isinstance(login, LdapLogin) and login.options.ldapserver[0] in self.hanging:
            assert self.gate.wait(10)
        return f"not {login.user}"

    def wait_for_begun(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=10)

    def end(self) -> None:
        self.gate.set()


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("verify")]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    for thread in threads():
        thread.join(10)
    assert threads() == []


def verifier(servers: Servers, threads: int = 2, logins: int = 100) -> Verifier:
    loop = asyncio.get_running_loop()
    return Verifier(
        loop,
        servers.verify,
        max_threads=threads,
        max_waiting_bytes=logins * (OVERHEAD + len(b"pw")),
    )


async def answer(verifier: Verifier, login: OutsideLogin) -> str:
    found: asyncio.Queue[str] = asyncio.Queue()
    verifier.submit(login, found.put_nowait)
    assert found.empty()
    return await asyncio.wait_for(found.get(), 10)


def test_an_answer_comes_back_in_the_loop(run: Run) -> None:
    async def scenario() -> None:
        asked = verifier(Servers())
        assert await answer(asked, ldap_login("a")) == "not bob"
        assert await answer(asked, PamLogin("eve", b"pw", "::1")) == "not eve"

    run(scenario())


def test_a_server_that_hangs_holds_up_its_own_logins_alone(run: Run) -> None:
    async def scenario() -> None:
        servers = Servers("hangs")
        asked = verifier(servers)
        held: asyncio.Queue[str] = asyncio.Queue()
        for n in range(20):
            asked.submit(ldap_login("hangs", str(n)), held.put_nowait)
        assert await answer(asked, ldap_login("lives")) == "not bob"
        assert await answer(asked, PamLogin("eve", b"pw", "::1")) == "not eve"
        assert held.empty()
        servers.end()
        assert {await held.get() for _ in range(20)} == {f"not {n}" for n in range(20)}

    run(scenario())


def test_a_lane_has_only_so_many_threads(run: Run) -> None:
    async def scenario() -> None:
        servers = Servers("hangs")
        asked = verifier(servers, threads=3)
        held: asyncio.Queue[str] = asyncio.Queue()
        for n in range(50):
            asked.submit(ldap_login("hangs", str(n)), held.put_nowait)
        servers.wait_for_begun(3)
        assert len(threads()) == 3
        servers.end()
        assert len([await held.get() for _ in range(50)]) == 50

    run(scenario())


def test_threads_that_never_return_are_replaced_but_not_without_end(run: Run) -> None:
    async def scenario() -> None:
        now = 1000.0
        servers = Servers("hangs")
        loop = asyncio.get_running_loop()
        asked = Verifier(loop, servers.verify, max_threads=2, clock=lambda: now)
        held: asyncio.Queue[str] = asyncio.Queue()
        for _ in range(MAX_STUCK // 2 + 1):
            for _ in range(2):
                asked.submit(ldap_login("hangs"), held.put_nowait)
            servers.wait_for_begun(2)
            now += STUCK
        assert len(threads()) == MAX_STUCK + 2
        asked.submit(ldap_login("hangs", "eve"), held.put_nowait)
        assert len(threads()) == MAX_STUCK + 2
        servers.end()
        assert len([await held.get() for _ in range(MAX_STUCK + 3)]) == MAX_STUCK + 3

    run(scenario())


def test_a_thread_in_the_place_of_one_that_hangs_answers(run: Run) -> None:
    async def scenario() -> None:
        now = 1000.0
        servers = Servers("hangs")
        loop = asyncio.get_running_loop()
        asked = Verifier(loop, servers.verify, max_threads=1, clock=lambda: now)
        held: asyncio.Queue[str] = asyncio.Queue()
        asked.submit(ldap_login("hangs"), held.put_nowait)
        servers.wait_for_begun(1)
        servers.hanging = ()
        now += STUCK
        assert await answer(asked, ldap_login("hangs", "eve")) == "not eve"
        assert held.empty()
        servers.end()
        assert await held.get() == "not bob"

    run(scenario())


def test_logins_too_many_are_refused_and_a_later_one_is_not(run: Run) -> None:
    async def scenario() -> None:
        servers = Servers("hangs")
        asked = verifier(servers, threads=1, logins=5)
        held: asyncio.Queue[str] = asyncio.Queue()
        asked.submit(ldap_login("hangs"), held.put_nowait)
        servers.wait_for_begun(1)
        for _ in range(5):
            asked.submit(ldap_login("hangs"), held.put_nowait)
        with pytest.raises(TooManyJobs, match="5 logins wait for LDAP"):
            asked.submit(ldap_login("hangs"), held.put_nowait)
        assert await answer(asked, ldap_login("lives")) == "not bob"
        servers.end()
        assert len([await held.get() for _ in range(6)]) == 6
        assert await answer(asked, ldap_login("hangs")) == "not bob"

    run(scenario())


def test_long_passwords_count_for_more(run: Run) -> None:
    async def scenario() -> None:
        asked = verifier(Servers(), logins=5)
        with pytest.raises(TooManyJobs):
            asked.submit(ldap_login("a", password=b"x" * 10_000), lambda problem: None)

    run(scenario())


def test_a_login_that_ends_is_not_asked_about(run: Run) -> None:
    async def scenario() -> None:
        servers = Servers("hangs")
        asked = verifier(servers, threads=1, logins=3)
        called: list[str] = []
        first = asked.submit(ldap_login("hangs", "first"), called.append)
        servers.wait_for_begun(1)
        for _ in range(10):  # each makes place for the next
            for login in [
                asked.submit(ldap_login("hangs", "gone"), called.append) for _ in range(3)
            ]:
                login.cancel()
        first.cancel()
        found: asyncio.Queue[str] = asyncio.Queue()
        asked.submit(ldap_login("hangs", "last"), found.put_nowait)
        servers.end()
        assert await found.get() == "not last"
        assert servers.asked == ["first", "last"]
        assert called == []

    run(scenario())


def test_after_close_nobody_is_asked_and_nobody_called(run: Run) -> None:
    async def scenario() -> None:
        servers = Servers("hangs")
        asked = verifier(servers, threads=1)
        called: list[str] = []
        for n in range(5):
            asked.submit(ldap_login("hangs", str(n)), called.append)
        servers.wait_for_begun(1)
        asked.close()
        servers.end()
        for thread in threads():
            thread.join(10)
        await asyncio.sleep(0)
        assert (servers.asked, called) == (["0"], [])

    run(scenario())


def test_a_library_that_raises_is_a_problem_without_its_text(run: Run) -> None:
    class Failing(Servers):
        def verify(self, login: OutsideLogin) -> str:
            raise TypeError(f"argument {login.password!r}")

    async def scenario() -> None:
        assert await answer(verifier(Failing()), ldap_login("a")) == "internal error: TypeError"

    run(scenario())


def test_a_loop_that_has_ended_hurts_nobody() -> None:
    servers = Servers("hangs")

    async def scenario() -> None:
        verifier(servers).submit(ldap_login("hangs"), lambda problem: None)
        servers.wait_for_begun(1)

    asyncio.run(scenario())
    servers.end()
