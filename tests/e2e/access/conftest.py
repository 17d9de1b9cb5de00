"""Two network namespaces: `inside` with a pooler, a firewall and sshd; `outside` with a client.

PostgreSQL stays where it is: the pooler reaches it by its Unix socket. What docs/access.md says is
run there as it stands, but for names, addresses and files. It takes root and `ip`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures import late_imports
from tests.fixtures.documents import ROOT
from tests.fixtures.pooler import Pooler
from tests.fixtures.waiting import wait_until

PAGE = (ROOT / "docs/access.md").read_text(encoding="utf-8")
INSIDE_ADDRESS, OUTSIDE_ADDRESS = "10.213.7.1", "10.213.7.2"
PORT = 6432


def block(language: str, containing: str) -> str:
    """The page's only block in that language that has this text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if containing in each]
    return str(found)


class Network:
    """The two namespaces; `inside` and `outside` are what a command there begins with."""

    def __init__(self) -> None:
        names = [f"pgmux-{side}-{os.getpid()}" for side in ("in", "out")]
        self._names = names
        self.inside, self.outside = (("ip", "netns", "exec", name) for name in names)

    def __enter__(self) -> Network:
        for name in self._names:
            run("ip", "netns", "add", name)
        ends = ("netns", self._names[0], "type", "veth", "peer", "name", "door", "netns")
        run("ip", "link", "add", "door", *ends, self._names[1])
        for command, address in ((self.inside, INSIDE_ADDRESS), (self.outside, OUTSIDE_ADDRESS)):
            run(*command, "ip", "address", "add", f"{address}/24", "dev", "door")
            for device in ("lo", "door"):
                run(*command, "ip", "link", "set", device, "up")
        return self

    def __exit__(self, *exc: object) -> None:
        for name in self._names:
            subprocess.run(("ip", "netns", "del", name), check=False)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What it prints. Raises: CalledProcessError."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd)
    return done.stdout


def can_make_networks() -> bool:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"pgmux-try-{os.getpid()}"
    made = subprocess.run(("ip", "netns", "add", name), capture_output=True).returncode == 0
    return made and subprocess.run(("ip", "netns", "del", name)).returncode == 0


needs_networks = pytest.mark.skipif(not can_make_networks(), reason="no network namespaces here")


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


class InsidePooler(Pooler):
    """A pooler in the namespace `inside`, on port 6432 there."""

    def __init__(
        self,
        network: Network,
        server: EmbeddedPostgres,
        settings: Mapping[str, object],
        hba: str | None,
    ) -> None:
        entry = f"host={server.socket_dir} port={server.port} dbname=postgres"
        entries = {"shop": entry}
        super().__init__(server, entries, settings, {"ada": "secret"}, {}, hba)
        self.port = PORT
        self._command = (*network.inside, *late_imports.COMMAND)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: "process up" in self.log() or process.poll() is not None)
        assert process.poll() is None, self.log()


class Site:
    """Somebody outside, and what is inside."""

    def __init__(self, network: Network, server: EmbeddedPostgres, stack: ExitStack) -> None:
        self.network = network
        self.server = server
        self.stack = stack

    def pooler(self, hba: str | None = None, **settings: object) -> InsidePooler:
        """It runs until the test ends."""
        made = InsidePooler(
            self.network, self.server, {"auth_type": "scram-sha-256"} | settings, hba
        )
        return self.stack.enter_context(made)

    def psql(self, conninfo: str, where: tuple[str, ...] = ()) -> str:
        """What user ada is told by psql, from outside unless told otherwise: `ada`, or an error."""
        command = (
            *(where or self.network.outside),
            str(self.server.tool("psql")),
            f"{conninfo} user=ada dbname=shop connect_timeout=2",
            *("-Atc", "SELECT current_user"),
        )
        env = {**os.environ, "PGPASSWORD": "secret"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
        return (done.stdout + done.stderr).strip()

    def seen_from_outside(self) -> tuple[int, str]:
        """`pgmux check --from` of the pooler: its exit code, and who answers."""
        command = (sys.executable, "-P", "-m", "pgmux", "check", "--from")
        done = subprocess.run(
            (*self.network.outside, *command, f"{INSIDE_ADDRESS}:{PORT}"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        answers = re.search(r"^answers +([a-zA-Z, :]+?) *[(\d]", done.stdout, re.MULTILINE)
        assert answers, done.stdout + done.stderr
        return done.returncode, answers[1]

    def background(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """A program that ends with the test."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return process


@pytest.fixture
def site(network: Network, postgres: EmbeddedPostgres) -> Iterator[Site]:
    postgres.psql("CREATE ROLE ada LOGIN PASSWORD 'secret'")
    with ExitStack() as stack:
        yield Site(network, postgres, stack)
    postgres.psql("DROP ROLE ada")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose files every account can read."""
    with tempfile.TemporaryDirectory(prefix="pgmux-access-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
