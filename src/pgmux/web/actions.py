"""POST /api/actions: a command for the pooler, from somebody who proves to be allowed to.

    Authorization: Bearer TOKEN          the token of --token-file, or the pooler's own
    Authorization: Basic USER:PASSWORD   of the console at --admin-console, by logging in there
    Content-Type: application/json       which no stranger's page can send without being asked

Answers, all {"message": text}: 200 done; 202 begun, and not done within PATIENCE; 400, 415 not a
command; 401 not proved, of which nothing more is told; 404 switched off; 409 the console refuses;
429 too many failures; 502 no console; 503 too much under way. Host and Origin: `access`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

from aiohttp import web

from pgmux.daemon.token_file import read_token
from pgmux.monitor.console import ConsoleGone, ConsoleRefused, open_console
from pgmux.web.attempts import Attempts
from pgmux.web.commands import BadCommand, Command, read_command
from pgmux.web.keys import CONSOLE, OPTIONS
from pgmux.web.log import Seldom
from pgmux.web.options import Options
from pgmux.web.proofs import NotProved, Proofs, Work

log = logging.getLogger("pgmux.web")

PATIENCE = 10.0  # seconds until a PAUSE that waits for transactions is answered for the time being
MAX_UNDER_WAY = 8
MAX_WHY = 500  # characters of a line of the log
NOT_ACCEPTED = "This token or password is not accepted."


def ways(options: Options) -> list[str]:
    """By what somebody can prove to be allowed to: token, password."""
    has_token = options.token_file is not None or options.token_from_pooler
    return ["token"] * has_token + ["password"] * (options.admin_console is not None)


def hint(options: Options) -> str:
    """How commands are switched on."""
    if options.console_fd is not None:
        return "Commands are off: http_token_file in pgmux.ini switches them on."
    return "Commands are off: --token-file or --admin-console of pgmux web switches them on."


class Actions:
    """What the requests share: who has failed, and the commands that go on."""

    def __init__(self, proofs: Proofs) -> None:
        self.proofs = proofs
        self.attempts = Attempts()
        self.under_way: set[asyncio.Task[web.Response]] = set()
        self._not_tried = Seldom()

    def tell_not_tried(self, address: str) -> None:
        """A line of the log, not for each: that would be anybody's to fill."""
        line = self._not_tried.line(f"commands from {address} aren't tried: too many failures")
        if line is not None:
            log.warning("%s", line)


ACTIONS = web.AppKey("actions", Actions)


def add_routes(app: web.Application) -> None:
    """Raises: TokenFileError, ConninfoError."""
    options = app[OPTIONS]
    token = read_token(options.token_file) if options.token_file else None
    if options.admin_console is not None:
        open_console(options.admin_console)  # connects when it is asked: this is but its syntax
    app[ACTIONS] = Actions(Proofs(app[CONSOLE], options, token))
    app.router.add_post("/api/actions", act)


async def act(request: web.Request) -> web.Response:
    """See the module."""
    options, actions = request.app[OPTIONS], request.app[ACTIONS]
    if not ways(options):
        return answer(404, hint(options))
    if request.content_type != "application/json":
        return answer(415, "Content-Type: application/json is expected.")
    try:
        command = read_command(json.loads(await request.read()))
    except (BadCommand, ValueError, RecursionError) as error:
        return answer(400, f"Not a command: {error}.")
    proof = request.headers.get("Authorization", "")
    if not proof:
        return answer(401, "A token or a password is needed.")
    if len(actions.under_way) >= MAX_UNDER_WAY:
        return answer(503, "Too many commands are under way.")
    address, now = request.remote or "?", time.monotonic()
    wait = actions.attempts.begin(address, now)
    if wait:
        actions.tell_not_tried(address)
        return answer(429, "Too many failures: try again later.", {"Retry-After": f"{wait:.0f}"})
    # It goes on also where whoever asked has left.
    task = asyncio.create_task(carry_out(actions, command, proof, address))
    actions.under_way.add(task)
    task.add_done_callback(actions.under_way.discard)
    await asyncio.wait([task], timeout=PATIENCE)
    return task.result() if task.done() else answer(202, f"{command.sql} has begun; not done yet.")


async def carry_out(actions: Actions, command: Command, proof: str, address: str) -> web.Response:
    """The answer at the end, with a line of the log."""
    why = ""
    try:
        who, work = await actions.proofs.check(proof)
        status, message = await run(work, command)
    except NotProved as error:
        who, status, message, why = "somebody", 401, NOT_ACCEPTED, f" {error}"[:MAX_WHY]
    if status == 502:
        actions.attempts.withdraw(address)
    elif status != 401:
        actions.attempts.succeed(address, time.monotonic())
    level = logging.INFO if status == 200 else logging.WARNING
    log.log(
        level,
        "%s by %s from %s: %s",
        printable(command.sql),
        who,
        address,
        printable(message + why),
    )
    return answer(status, message)


async def run(work: Work, command: Command) -> tuple[int, str]:
    """HTTP's status and what to say. Raises: NotProved."""
    try:
        await work(command.sql)
    except ConsoleRefused as error:
        return 409, f"The console refuses: {error}"
    except ConsoleGone:
        return 502, "The console doesn't answer: whether it was done isn't known."
    return 200, f"{command.sql}: done."


def printable(text: str) -> str:
    """For the log, in which a database's name writes no line of its own."""
    return text.encode("unicode_escape").decode()


def answer(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer as JSON."""
    if status == 401:
        headers = {"WWW-Authenticate": 'Bearer realm="pgmux"'}
    return web.json_response({"message": message}, status=status, headers=headers)
