"""LDAP and PAM asked away from the event loop, as their libraries block.

Each LDAP server, and PAM, has a lane: a queue and a few threads of its own. So one that hangs holds
up those alone who want to be let in by it. A login that ends takes its question out of the queue; a
question that is being asked can't be taken back, and its answer is dropped. Threads end when their
queue is empty: while a process has more than one, each of its system calls on a file descriptor
costs more. They are daemons: the process doesn't wait for them at its end. A library may never
return: who has been asking for STUCK seconds no longer counts, so another thread goes on.

Errors: `TooManyJobs` for a question too many; anybody who can connect can ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pgmux.auth.outside import LdapLogin, OutsideLogin
from pgmux.net.compute import TooManyJobs

THREADS = 8  # in each lane: PAM takes two seconds to say no
STUCK = 60.0  # seconds
MAX_STUCK = 32  # threads of a lane that may be lost so
# Of the questions that wait in a lane; each counts as its password and OVERHEAD.
MAX_WAITING_BYTES = 8 << 20
OVERHEAD = 1 << 10

Verify = Callable[[OutsideLogin], str]
OnVerified = Callable[[str], None]


def verify(login: OutsideLogin) -> str:
    """What is wrong with the login, "" for nothing; blocks. The libraries are extras."""
    if isinstance(login, LdapLogin):
        from pgmux.net.ldap_login import verify_by_ldap

        return verify_by_ldap(login)
    from pgmux.net.pam_login import verify_by_pam

    return verify_by_pam(login)


class Verification:
    """One login's question; `cancel` when it is no longer of interest."""

    __slots__ = ("_verifier", "cost", "login", "on_verified")

    def __init__(self, verifier: Verifier, login: OutsideLogin, on_verified: OnVerified) -> None:
        self._verifier = verifier
        self.login = login
        self.on_verified: OnVerified | None = on_verified
        self.cost = len(login.password) + OVERHEAD

    def cancel(self) -> None:
        """`on_verified` is not called any more."""
        self.on_verified = None
        self._verifier.forget(self)


@dataclass(slots=True)
class _Lane:
    """`waiting` in order, `cost` of them together; `threads` that run; since when each asks."""

    waiting: dict[Verification, None] = field(default_factory=dict)
    cost: int = 0
    threads: int = 0
    asked: dict[int, float] = field(default_factory=dict)

    def free_threads(self, now: float) -> int:
        """Those that run, and may come to their next question."""
        stuck = sum(now - since >= STUCK for since in self.asked.values())
        return self.threads - min(stuck, MAX_STUCK)


class Verifier:
    """See the module. All but `_work` and `_ask` is called in the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        verify: Verify = verify,
        *,
        max_threads: int = THREADS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._verify = verify
        self._max_threads = max_threads
        self._max_waiting_bytes = max_waiting_bytes
        self._lock = threading.Lock()  # of the lanes
        self._lanes: dict[object, _Lane] = {}
        self._is_closed = False

    def submit(self, login: OutsideLogin, on_verified: OnVerified) -> Verification:
        """Have `on_verified` called with what is wrong, never before this returns.

        Raises: TooManyJobs.
        """
        verification = Verification(self, login, on_verified)
        with self._lock:
            lane = self._lanes.setdefault(login.lane, _Lane())
            if lane.cost + verification.cost > self._max_waiting_bytes:
                raise TooManyJobs(f"{len(lane.waiting)} logins wait for {login.service} already")
            lane.waiting[verification] = None
            lane.cost += verification.cost
            is_thread_needed = lane.free_threads(self._clock()) < self._max_threads
            lane.threads += is_thread_needed
        if is_thread_needed:
            self._start_thread(lane, verification)
        return verification

    def forget(self, verification: Verification) -> None:
        """Nobody wants to know any more."""
        with self._lock:
            lane = self._lanes.get(verification.login.lane)
            if lane is not None and verification in lane.waiting:
                del lane.waiting[verification]
                lane.cost -= verification.cost

    def close(self) -> None:
        """Forget all questions: nobody is called any more."""
        self._is_closed = True
        with self._lock:
            for lane in self._lanes.values():
                lane.waiting.clear()
                lane.cost = 0

    def _start_thread(self, lane: _Lane, verification: Verification) -> None:
        """Raises: TooManyJobs where the system has no thread for us and the lane has none."""
        key = verification.login.lane
        thread = threading.Thread(target=self._work, args=(key, lane), name="verify", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            with self._lock:
                lane.threads -= 1
                is_stuck = lane.threads == 0
            if is_stuck:
                self.forget(verification)
                raise TooManyJobs(str(error)) from error

    # ---- in a thread of the lane

    def _work(self, key: object, lane: _Lane) -> None:
        """Ask till nothing waits."""
        thread = threading.get_ident()
        while True:
            with self._lock:
                lane.asked.pop(thread, None)
                verification = next(iter(lane.waiting), None)
                if verification is None or lane.free_threads(self._clock()) > self._max_threads:
                    lane.threads -= 1
                    if lane.threads == 0 and self._lanes.get(key) is lane:
                        del self._lanes[key]
                    return
                del lane.waiting[verification]
                lane.cost -= verification.cost
                lane.asked[thread] = self._clock()
            self._ask(verification)

    def _ask(self, verification: Verification) -> None:
        try:
            problem = self._verify(verification.login)
        except Exception as error:
            # Its text, and no traceback, as what it is about is a password.
            problem = f"internal error: {type(error).__name__}"
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._finish, verification, problem)

    def _finish(self, verification: Verification, problem: str) -> None:
        on_verified, verification.on_verified = verification.on_verified, None
        if on_verified is not None and not self._is_closed:
            on_verified(problem)
