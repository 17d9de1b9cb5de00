"""This machine: the pooler's process by its pidfile, descriptors, listening sockets, firewall.

Nothing is changed; the firewall's own programs are asked, from where the system has them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from glob import glob

from pgmux.config.model import Config
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.machine import Firewall, Listener, MachineFacts, OpenFiles
from pgmux.ops.check.gather.reading import NotRead, read_bounded

_LISTENS = "0A"  # TCP_LISTEN, as /proc/net/tcp has it
_POOLERS = re.compile(r"pgmux|pgbouncer")
_LIMIT = re.compile(r"^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)", re.MULTILINE)
_TIMEOUT = 5.0  # seconds, for a firewall's program
_ASK_AS_ROOT = "run as root: sudo pgmux check …"


def gather(config: Config | None) -> tuple[MachineFacts, list[Unread]]:
    unread: list[Unread] = []
    found = _process(config)
    name, files = found if found is not None else ("", _own_limit())
    ports = frozenset({config.settings.listen_port, 5432} if config is not None else {5432, 6432})
    try:
        firewall = _firewall(ports)
    except NotRead as error:
        firewall = None
        unread.append(Unread("machine", str(error), _ASK_AS_ROOT if os.geteuid() else ""))
    return MachineFacts(files, name, tuple(_listeners()), firewall, _libpq()), unread


def _libpq() -> int | None:
    """The newest of the system's, where its Python has psycopg, which then uses it. libpq.so.5.17
    is PostgreSQL 17's.
    """
    if not glob("/usr/lib*/python3*/*-packages/psycopg/__init__.py"):
        return None
    paths = (*glob("/usr/lib/*/libpq.so.5.*"), *glob("/usr/lib*/libpq.so.5.*"))
    numbers = [int(each) for path in paths if (each := path.rpartition(".")[2]).isdecimal()]
    return max(numbers, default=None)


def _process(config: Config | None) -> tuple[str, OpenFiles] | None:
    """The pooler that pidfile names, if it runs and is one."""
    pidfile = config.settings.pidfile if config is not None else ""
    try:
        pid = int(read_bounded(pidfile, 64)) if pidfile else 0
        command = read_proc(f"/proc/{pid}/cmdline").replace("\0", " ") if pid > 0 else ""
        limits = _LIMIT.search(read_proc(f"/proc/{pid}/limits")) if command else None
    except (NotRead, OSError, ValueError):
        return None
    kind = _POOLERS.search(command)
    if kind is None or limits is None:
        return None
    soft, hard = (_limit(text) for text in limits.groups())
    return kind[0], OpenFiles(soft, hard, f"{kind[0]}, process {pid}", is_pooler=True)


def read_proc(path: str) -> str:
    """A file of /proc, whose size isn't told before. Raises: OSError."""
    with open(path, "rb") as file:
        return file.read(1 << 20).decode("utf-8", "replace")


def _limit(text: str) -> int:
    return (1 << 63) - 1 if text == "unlimited" else int(text)


def _own_limit() -> OpenFiles:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (1 << 63) - 1
    soft, hard = (most if each == resource.RLIM_INFINITY else each for each in (soft, hard))
    return OpenFiles(soft, hard, "this shell", is_pooler=False)


def _listeners() -> Iterator[Listener]:
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = read_proc(path).splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTENS:
                address, _, port = fields[1].partition(":")
                yield Listener(_address(address), int(port, 16))


def _address(digits: str) -> str:
    """`0100007F` is 127.0.0.1: words of 32 bits in this machine's order of bytes."""
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    parsed = ipaddress.ip_address(b"".join(words))
    return "" if parsed.is_unspecified else str(parsed)


def _firewall(ports: frozenset[int]) -> Firewall | None:
    """ufw where it is on, else nftables, else iptables; None where there is none of them. Raises:
    NotRead.
    """
    if _ufw_is_enabled():
        said = _ask("ufw", "status", "verbose")
        if said is None:
            raise NotRead("ufw is enabled; its rules are for root to read")
        return _of_ufw(said, ports)
    found = [
        read(said, ports)
        for tool, arguments, read in _TOOLS
        if (said := _ask(tool, *arguments)) is not None
    ]
    if found:
        return next((each for each in found if each.closes), found[0])
    if any(_find(tool) for tool in ("nft", "iptables")):
        raise NotRead("the firewall's rules (nftables, iptables) are for root to read")
    raise NotRead("no firewall's program was found: neither ufw, nft nor iptables")


def _ufw_is_enabled() -> bool:
    try:
        return re.search(r"(?m)^ENABLED=yes", read_bounded("/etc/ufw/ufw.conf")) is not None
    except NotRead:
        return False


def _of_ufw(said: str, ports: frozenset[int]) -> Firewall:
    is_active = re.search(r"(?m)^Status: active", said) is not None
    closes = re.search(r"(?m)^Default: (?:deny|reject) \(incoming\)", said) is not None
    rows = re.findall(r"(?m)^(\d+)(?:/tcp)?(?: \(v6\))?\s+ALLOW IN\s+Anywhere", said)
    return Firewall("ufw", is_active, closes, ports & {int(row) for row in rows})


def _of_nftables(said: str, ports: frozenset[int]) -> Firewall:
    """Of the chains that see what comes in: whether one drops, and what is accepted by port."""
    chains = re.findall(r"(?ms)^\tchain \S+ \{\n(\t\ttype filter hook input.*?)^\t\}", said)
    closes = any("policy drop" in chain or _drops_rest(chain) for chain in chains)
    accepting = [
        rule
        for chain in chains
        for rule in re.findall(r"(?m)^.*tcp dport .*accept", chain)
        if "saddr" not in rule
    ]
    opened = {int(port) for port in re.findall(r"\b\d{1,5}\b", " ".join(accepting))}
    is_active = any(chain.count("\n") > 1 or "policy drop" in chain for chain in chains)
    return Firewall("nftables", is_active, closes, ports & opened)


def _drops_rest(chain: str) -> bool:
    last = chain.strip().rpartition("\n")[2].strip()
    return re.fullmatch(r"(?:counter[^;]*)?(?:drop|reject\b.*)", last) is not None


def _of_iptables(said: str, ports: frozenset[int]) -> Firewall:
    rules = said.splitlines()
    policy = "-P INPUT DROP" in rules or "-P INPUT REJECT" in rules
    rest = bool(rules) and re.fullmatch(r"-A INPUT -j (?:DROP|REJECT\b.*)", rules[-1]) is not None
    opened = {
        int(port)
        for line in rules
        if line.endswith("-j ACCEPT") and " -s " not in line
        for port in re.findall(r"--dport (\d+)", line)
    }
    return Firewall("iptables", policy or rest or len(rules) > 1, policy or rest, ports & opened)


_TOOLS = (
    ("nft", ("list", "ruleset"), _of_nftables),
    ("iptables", ("-S", "INPUT"), _of_iptables),
)


def _find(tool: str) -> str:
    """The program in the system's own directories, not on PATH."""
    paths = (f"{directory}/{tool}" for directory in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"))
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def _ask(tool: str, *arguments: str) -> str | None:
    """What it prints; None where it isn't there, or won't tell us."""
    path = _find(tool)
    if not path:
        return None
    try:
        ran = subprocess.run(
            [path, *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout[: 1 << 20].decode("utf-8", "replace") if ran.returncode == 0 else None
