"""PBKDF2 away from the event loop, for clients' logins and for our own.

Equal jobs that are under way at once run once. The threads end when there is nothing left to do:
while a process has more than one, each of its system calls on a file descriptor costs more.

Errors: `TooManyJobs` for a job too many; anybody who can connect can ask for jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pgmux.auth.scram import Pbkdf2
from pgmux.errors import PgmuxError

MAX_JOBS = 1000
THREADS = 2

OnResult = Callable[[bytes], None]


class TooManyJobs(PgmuxError):
    """So many key derivations wait that another one would wait for seconds."""


class Computer:
    """Runs jobs in threads; results come back in the event loop."""

    __slots__ = ("_executor", "_loop", "_max_jobs", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, max_jobs: int = MAX_JOBS) -> None:
        self._loop = loop
        self._max_jobs = max_jobs
        self._executor: ThreadPoolExecutor | None = None
        self._waiting: dict[Pbkdf2, list[OnResult]] = {}

    def submit(self, job: Pbkdf2, on_result: OnResult) -> None:
        """Have `on_result` called with the job's result, never before this returns.

        Raises: TooManyJobs.
        """
        sharers = self._waiting.get(job)
        if sharers is not None:
            sharers.append(on_result)
            return
        if len(self._waiting) >= self._max_jobs:
            raise TooManyJobs(f"{self._max_jobs} password computations are waiting already")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="pbkdf2")
        self._waiting[job] = [on_result]
        future = self._executor.submit(job.run)
        future.add_done_callback(lambda done: self._from_thread(job, done))

    def close(self) -> None:
        """Forget all jobs: nobody is called any more."""
        self._waiting.clear()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _from_thread(self, job: Pbkdf2, done: Future[bytes]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._finish, job, done)

    def _finish(self, job: Pbkdf2, done: Future[bytes]) -> None:
        sharers = self._waiting.pop(job, [])
        if not self._waiting and self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
        if not sharers:
            return
        result = done.result()
        for on_result in sharers:
            # Each in a call of its own: one that raises doesn't take the others' result away.
            self._loop.call_soon(on_result, result)
