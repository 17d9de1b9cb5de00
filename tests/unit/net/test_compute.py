"""Key derivations: off the loop, shared, bounded."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from pgmux.auth.scram import Pbkdf2
from pgmux.net.compute import Computer, TooManyJobs
from tests.unit.net.conftest import Run

JOB = Pbkdf2(b"pencil", b"salt", 7)


class GatedJob(Pbkdf2):
    """A job that starts when it is let, and counts itself."""

    gate = threading.Event()
    started: list[int] = []  # noqa: RUF012  a test empties it

    def run(self) -> bytes:
        assert self.gate.wait(5)
        self.started.append(threading.get_ident())
        return super().run()


@pytest.fixture(autouse=True)
def closed_gate() -> None:
    GatedJob.gate.clear()
    GatedJob.started.clear()


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("pbkdf2")]


def wait_for_threads_to_end() -> None:
    for thread in threads():
        thread.join(5)
    assert threads() == []


async def results(computer: Computer, *jobs: Pbkdf2) -> list[bytes]:
    """What the jobs result in, in the order in which they end."""
    found: asyncio.Queue[bytes] = asyncio.Queue()
    for job in jobs:
        computer.submit(job, found.put_nowait)
    assert found.empty()
    GatedJob.gate.set()
    return [await found.get() for _ in jobs]


def test_a_result_comes_back_in_the_loop_from_another_thread(run: Run) -> None:
    async def scenario() -> None:
        job = GatedJob(b"pencil", b"salt", 7)
        assert await results(Computer(asyncio.get_running_loop()), job) == [JOB.run()]
        assert threading.get_ident() not in GatedJob.started

    run(scenario())


def test_equal_jobs_run_once_and_all_are_told(run: Run) -> None:
    async def scenario() -> None:
        jobs = [GatedJob(b"pencil", b"salt", 7) for _ in range(5)]
        assert await results(Computer(asyncio.get_running_loop()), *jobs) == [JOB.run()] * 5
        assert len(GatedJob.started) == 1

    run(scenario())


def test_one_callback_that_raises_does_not_keep_the_result_from_others() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        failed: list[object] = []
        loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
        computer = Computer(loop)
        computer.submit(JOB, lambda result: [][0])
        assert await results(computer, JOB) == [JOB.run()]
        assert len(failed) == 1

    asyncio.run(scenario())


def test_too_many_jobs_are_refused_but_sharing_one_is_not(run: Run) -> None:
    async def scenario() -> None:
        computer = Computer(asyncio.get_running_loop(), max_jobs=3)
        jobs = [GatedJob(b"pencil", b"%d" % n, 7) for n in range(3)]
        for job in jobs:
            computer.submit(job, lambda result: None)
        with pytest.raises(TooManyJobs, match="3 password computations"):
            computer.submit(GatedJob(b"pencil", b"more", 7), lambda result: None)
        await results(computer, jobs[2], jobs[1], jobs[0])
        assert len(await results(computer, GatedJob(b"pencil", b"more", 7))) == 1

    run(scenario())


def test_threads_end_when_nothing_is_left_to_do(run: Run) -> None:
    async def scenario() -> None:
        computer = Computer(asyncio.get_running_loop())
        wait_for_threads_to_end()  # of other tests
        for _ in range(2):
            await results(computer, JOB)
            wait_for_threads_to_end()

    run(scenario())


def test_after_close_nobody_is_called(run: Run) -> None:
    async def scenario() -> None:
        computer = Computer(asyncio.get_running_loop())
        called: list[bytes] = []
        for n in range(9):
            computer.submit(GatedJob(b"pencil", b"%d" % n, 7), called.append)
        computer.close()
        GatedJob.gate.set()
        wait_for_threads_to_end()
        await asyncio.sleep(0)
        assert called == []

    run(scenario())


def test_a_job_that_outlives_the_loop_hurts_nobody() -> None:
    async def scenario() -> None:
        submit = partial(Computer(asyncio.get_running_loop()).submit, GatedJob(b"", b"", 7))
        submit(lambda result: None)

    asyncio.run(scenario())
    GatedJob.gate.set()
    wait_for_threads_to_end()
    assert len(GatedJob.started) == 1
