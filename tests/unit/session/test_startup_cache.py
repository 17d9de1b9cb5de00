"""Clients whose startup packet has been seen before: they log in as if it were the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pgmux.auth.scram import Pbkdf2, ScramProver, derive_keys
from pgmux.auth.tls_info import TlsInfo
from pgmux.config import AuthType, Config, Database
from pgmux.config.model import SslMode
from pgmux.errors import PoolerError
from pgmux.session.client import ClientLogin, LoginContext
from pgmux.session.login_steps import (
    Answer,
    Attempted,
    Enter,
    EnterConsole,
    Judged,
    LoginStep,
    Refuse,
)
from pgmux.session.startup_cache import MAX_PACKET_LEN, MAX_PACKETS, MAX_WAYS, StartupCache
from pgmux.wire import build
from tests.unit.session.test_client_login import (
    QUERY,
    SSL,
    FakePeer,
    answered,
    compute,
    config,
    entered,
    startup,
)
from tests.unit.session.test_hba_login import hba


@dataclass
class Process:
    """What logins share; `config` may change between them."""

    config: Config
    connections: int = 1
    startups: StartupCache = field(default_factory=StartupCache)

    def start(self, host: str = "10.0.0.9", *, is_tls: bool = False) -> ClientLogin:
        context = LoginContext(
            config=lambda: self.config,
            random=lambda size: b"r" * size,
            connection_count=lambda: self.connections,
            own_uid=1000,
            tls_mode=lambda: self.config.settings.client_tls_sslmode,
            os_user=lambda uid: None,
            mock_key=b"k" * 32,
            startups=self.startups,
        )
        login = ClientLogin(context, FakePeer(host))
        if is_tls:
            login.tls = TlsInfo("TLSv1.3", "x", "/CN=bob", ("bob",))
        return login

    def feed(self, data: bytes, host: str = "10.0.0.9") -> list[LoginStep]:
        return self.start(host).feed(data)

    def knows(self, packet: bytes) -> bool:
        return self.startups.find(packet, self.config) is not None


def refusal(steps: list[LoginStep]) -> str:
    assert isinstance(steps[-1], Refuse)
    return steps[-1].error.message


def test_the_second_client_with_the_same_packet_logs_in_like_the_first() -> None:
    process = Process(config())
    packet = startup(3, application_name="psql", timezone="CET")
    first, second = process.start(), process.start()
    steps = first.feed(packet)
    assert process.knows(packet)
    assert second.feed(packet) == steps
    assert [type(step) for step in steps] == [Answer, Attempted, Enter]
    for login in (first, second):
        assert (login.user, login.database, login.is_done) == ("bob", "app", True)
        assert (login.rest(), login.kept_len) == (b"", 0)


def test_a_known_packet_may_come_behind_a_request_for_encryption() -> None:
    process = Process(config())
    process.feed(startup())
    login = process.start()
    assert login.feed(SSL) == [Answer(b"N")]
    assert entered(login.feed(startup())).credentials.user == "bob"


@pytest.mark.parametrize("at", [1, 8, 20])
def test_a_known_packet_may_come_in_pieces_with_a_query_behind_it(at: int) -> None:
    process = Process(config())
    process.feed(startup())
    login = process.start()
    data = startup() + QUERY
    assert login.feed(data[:at]) == []
    assert entered(login.feed(data[at:])).credentials.user == "bob"
    assert login.rest() == QUERY


def test_bytes_that_end_like_a_known_packet_are_not_taken_for_it() -> None:
    process = Process(config())
    process.feed(startup())
    login = process.start()
    login.feed(b"\0\0")
    with pytest.raises(PoolerError, match="bad packet header"):
        login.feed(startup())


# Who gets in there


@pytest.mark.parametrize("auth_type", [AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256])
def test_a_packet_is_not_remembered_before_its_client_has_authenticated(
    auth_type: AuthType,
) -> None:
    process = Process(config(auth_type))
    login = process.start()
    login.feed(startup())
    steps = login.feed(build.build_password_message("wrong"))
    assert not any(isinstance(step, Enter) for step in steps)
    assert not process.knows(startup())


def test_a_packet_of_an_unknown_user_is_not_remembered() -> None:
    process = Process(config())
    for _ in range(2):
        steps = process.feed(startup(user="eve"))
        assert refusal(steps) == '"trust" authentication failed'
    assert not process.knows(startup(user="eve"))


def test_who_is_known_is_asked_for_the_password_as_ever() -> None:
    process = Process(config(AuthType.SCRAM_SHA_256))
    for password, is_right in ((b"pencil", True), (b"wrong", False), (b"pencil", True)):
        login = process.start()
        login.feed(startup())
        prover = ScramProver("nonce")
        first = build.build_sasl_initial_response("SCRAM-SHA-256", prover.client_first())
        challenge = prover.on_server_first(answered(compute(login, login.feed(first)))[9:])
        salted = Pbkdf2(password, challenge.salt, challenge.iterations).run()
        keys = derive_keys(salted, challenge.salt, challenge.iterations)
        steps = login.feed(build.build_sasl_response(prover.prove(keys)))
        assert isinstance(steps[-1], Enter) is is_right
        assert process.knows(startup())


def test_no_more_packets_are_remembered_than_256_and_the_oldest_goes() -> None:
    process = Process(config())
    packets = [startup(application_name=str(i)) for i in range(MAX_PACKETS + 1)]
    for packet in packets:
        process.feed(packet)
    assert [process.knows(packet) for packet in packets] == [False] + [True] * MAX_PACKETS


def test_a_long_packet_is_not_remembered() -> None:
    process = Process(config())
    packet = startup(application_name="x" * MAX_PACKET_LEN)
    assert [entered(process.feed(packet)).credentials.user for _ in range(2)] == ["bob", "bob"]
    assert not process.knows(packet)


def test_where_the_address_is_told_to_the_server_no_packet_is_remembered() -> None:
    process = Process(config(application_name_add_host=True))
    for host in ("10.0.0.1", "10.0.0.2"):
        parameters = entered(process.feed(startup(), host)).startup.parameters
        assert parameters["application_name"] == f"app - {host}:4711"
    assert not process.knows(startup())


def test_the_console_asks_each_time_who_somebody_is() -> None:
    process = Process(config(admin_users=("bob",)))
    packet = startup(database="pgbouncer")
    for is_admin in (True, False):
        process.config = config(admin_users=("bob",) if is_admin else (), stats_users=("bob",))
        (_, step) = process.feed(packet)
        assert isinstance(step, EnterConsole)
        assert step.is_admin is is_admin


# What is asked each time


def test_a_known_packet_is_turned_away_where_there_are_too_many_clients() -> None:
    process = Process(config(max_client_conn=1))
    process.feed(startup())
    process.connections = 2
    with pytest.raises(PoolerError, match=r"no more connections allowed \(max_client_conn\)"):
        process.feed(startup())


def test_a_known_packet_needs_tls_where_all_do() -> None:
    process = Process(config(client_tls_sslmode=SslMode.REQUIRE))
    assert entered(process.start(is_tls=True).feed(startup())).credentials.user == "bob"
    assert process.knows(startup())
    with pytest.raises(PoolerError, match="SSL required"):
        process.feed(startup())


def test_hba_lines_judge_a_known_packet_by_where_it_comes_from() -> None:
    process = Process(
        hba(
            "hostssl all all 10.0.0.9/32 reject\n"
            "host all all 10.0.0.0/8 trust\nhost all all all md5"
        )
    )
    for _ in range(2):
        for host in ("10.0.0.9", "10.0.0.8"):
            _, judged, enter = process.feed(startup(), host)
            assert (judged, type(enter)) == (Judged("/etc/hba:2", "trust"), Enter)
        assert refusal(process.start(is_tls=True).feed(startup())) == "login rejected"
        assert isinstance(process.feed(startup(), "11.0.0.9")[-1], Answer)


def test_of_the_addresses_that_a_packet_comes_from_so_many_are_remembered() -> None:
    process = Process(hba("host all all 10.0.0.0/8 trust"))
    for i in range(3 * MAX_WAYS):
        entered(process.feed(startup(), f"10.0.1.{i}"))
        assert refusal(process.feed(startup(), f"11.0.1.{i}")).startswith("no authentication")
    known = process.startups.find(startup(), process.config)
    assert known is not None
    assert len(known.ways) <= MAX_WAYS


# A RELOAD or SET


def with_database(**changes: Any) -> Callable[[Config], Config]:
    return lambda old: replace(old, databases={"app": replace(old.databases["app"], **changes)})


def with_settings(**changes: Any) -> Callable[[Config], Config]:
    return lambda old: replace(old, settings=replace(old.settings, **changes))


@pytest.mark.parametrize(
    ("change", "user", "secret"),
    [
        (lambda old: replace(old, userlist={"bob": "crayon"}), "bob", b"crayon"),
        (with_database(user="boss", password="own"), "bob", b"pencil"),
    ],
)
def test_after_a_reload_the_new_secret_counts(
    change: Callable[[Config], Config], user: str, secret: bytes
) -> None:
    process = Process(config())
    process.feed(startup())
    process.config = change(process.config)
    for _ in range(2):
        found = entered(process.feed(startup())).credentials
        assert found.secret is not None
        assert (found.user, found.secret.text) == (user, secret)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda old: replace(old, userlist={}), '"trust" authentication failed'),
        (lambda old: hba("host all all all reject"), "login rejected"),
    ],
)
def test_after_a_reload_who_is_not_to_come_in_does_not(
    change: Callable[[Config], Config], message: str
) -> None:
    process = Process(config())
    process.feed(startup())
    process.config = change(process.config)
    assert refusal(process.feed(startup())) == message


def test_after_a_reload_another_method_is_asked_for() -> None:
    process = Process(config())
    process.feed(startup())
    process.config = with_settings(auth_type=AuthType.PLAIN)(process.config)
    assert process.feed(startup())[-1] == Answer(build.build_authentication_cleartext_password())


def test_after_a_reload_other_parameters_are_taken() -> None:
    process = Process(config(ignore_startup_parameters=("geqo",)))
    packet = startup(geqo="off", work_mem="1MB", timezone="CET")
    process.config = with_database(startup_parameters=("work_mem",))(process.config)
    known = entered(process.feed(packet)).startup.parameters
    assert known == {"work_mem": "1MB", "TimeZone": "CET"}
    process.config = with_settings(ignore_startup_parameters=())(process.config)
    with pytest.raises(PoolerError, match="unsupported startup parameter: geqo"):
        process.feed(packet)


def test_a_login_that_a_reload_overtakes_is_remembered_by_nobody() -> None:
    process = Process(config(AuthType.PLAIN))
    login = process.start()
    login.feed(startup())
    process.config = replace(process.config, databases={"app": Database("app", "other")})
    assert isinstance(login.feed(build.build_password_message("pencil"))[-1], Enter)
    assert not process.knows(startup())


def test_after_a_reload_nothing_of_the_old_secrets_is_kept_once_a_client_comes() -> None:
    process = Process(config())
    process.feed(startup())
    old, process.config = process.config, replace(process.config)
    process.feed(startup(user="root"))
    assert process.startups.find(startup(), old) is None
