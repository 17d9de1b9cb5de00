"""Bodies that are right come back as they were built; bodies that are not raise one exception."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.errors import ProtocolViolation
from pgmux.wire import build, codes, parse

HEADER_LEN = 5
raw = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"."))
names = raw.map(parse.decode_text)  # any bytes a peer may send, lone surrogates included
filled = names.filter(bool)
uint32 = st.integers(0, 2**32 - 1)
int16 = st.integers(-(2**15), 2**15 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
formats = st.lists(int16, max_size=4)
values = st.lists(st.none() | st.binary(max_size=20), max_size=4)
kinds = st.sampled_from((codes.KIND_STATEMENT, codes.KIND_PORTAL))
columns = st.builds(parse.Column, names, uint32, int16, int16, int32, uint32, int16)

# A body of each kind that is whole: with a byte less or more it is not.
BODIES: list[tuple[Callable[[bytes], object], bytes]] = [
    (parser, message[HEADER_LEN:])
    for parser, message in (
        (parse.parse_error_response, build.build_error_response("FATAL", "08P01", "m")),
        (parse.parse_notice_response, build.build_notice_response("NOTICE", "00000", "m")),
        (parse.parse_parameter_status, build.build_parameter_status("TimeZone", "UTC")),
        (parse.parse_ready_for_query, build.build_ready_for_query()),
        (parse.parse_command_complete, build.build_command_complete("SELECT 1")),
        (
            parse.parse_negotiate_protocol_version,
            build.build_negotiate_protocol_version(2, ["_pq_.a", "_pq_.b"]),
        ),
        (parse.parse_notification_response, build.build_notification_response(1, "c", "p")),
        (parse.parse_row_description, build.build_row_description([parse.Column("c", 25, -1)])),
        (parse.parse_data_row, build.build_data_row([b"x", None, b""])),
        (parse.parse_parameter_description, build.build_parameter_description([23, 25])),
        (parse.parse_query, build.build_query("select 1")),
        (parse.parse_parse, build.build_parse("s", "select $1", [23])),
        (parse.parse_bind, build.build_bind("p", "s", [b"x", None], parameter_formats=[1])),
        (parse.parse_describe, build.build_describe(codes.KIND_STATEMENT, "s")),
        (parse.parse_close, build.build_close(codes.KIND_PORTAL, "p")),
        (parse.parse_execute, build.build_execute("p", 3)),
        (parse.parse_password_message, build.build_password_message("pw")),
        (parse.parse_sasl_initial_response, build.build_sasl_initial_response("M", b"n,,n=")),
    )
]
BODIES.append((parse.parse_sasl_mechanisms, b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0\0"))
PARSERS = [parser for parser, _ in BODIES] + [
    parse.parse_authentication,
    parse.parse_backend_key_data,
    parse.parse_bind_names,
]


@pytest.mark.parametrize(("parser", "body"), BODIES)
def test_a_body_cut_short_anywhere_is_refused(
    parser: Callable[[bytes], object], body: bytes
) -> None:
    parser(body)
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation, match=r"^broken \w+ packet$"):
            parser(body[:length])


@pytest.mark.parametrize(("parser", "body"), BODIES)
def test_a_body_with_bytes_left_over_is_refused(
    parser: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(ProtocolViolation):
        parser(body + b"\0")


@pytest.mark.parametrize("parser", PARSERS)
@given(body=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_violation(
    parser: Callable[[bytes], object], body: bytes
) -> None:
    try:
        parser(body)
    except ProtocolViolation as error:
        assert error.side in ("client", "server")


@pytest.mark.parametrize(("parser", "body"), BODIES)
@given(data=st.data())
def test_a_changed_byte_raises_nothing_but_a_protocol_violation(
    parser: Callable[[bytes], object], body: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes((data.draw(st.integers(0, 255)),)) + body[at + 1 :]
    try:
        parser(changed)
    except ProtocolViolation as error:
        assert error.message.startswith("broken ")


@pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 2**30, 2])
def test_a_value_length_that_the_body_does_not_hold_is_refused(length: int) -> None:
    body = b"\0\x01" + length.to_bytes(4, "big", signed=True) + b"x"
    with pytest.raises(ProtocolViolation, match=r"^broken DataRow packet$"):
        parse.parse_data_row(body)


def test_a_negative_value_length_never_leads_back_into_the_body() -> None:
    # Six bytes back, the row's count and the length's start would read as a length that fits.
    body = b"\0\x02" + (-6).to_bytes(4, "big", signed=True)
    with pytest.raises(ProtocolViolation, match=r"^broken DataRow packet$"):
        parse.parse_data_row(body.ljust(4 + 0x2FFFF, b"x"))


def test_a_count_that_the_body_does_not_hold_is_refused_at_once() -> None:
    with pytest.raises(ProtocolViolation):
        parse.parse_negotiate_protocol_version(b"\0\x03\0\x02\xff\xff\xff\xffa\0")


def test_a_violation_names_the_side_that_broke_the_protocol() -> None:
    with pytest.raises(ProtocolViolation) as from_client:
        parse.parse_parse(b"")
    with pytest.raises(ProtocolViolation) as from_server:
        parse.parse_data_row(b"")
    assert (from_client.value.side, from_client.value.message) == ("client", "broken Parse packet")
    assert from_server.value.side == "server"


@given(names, names, names, names, names, st.booleans())
def test_an_error_response_comes_back(
    severity: str, sqlstate: str, message: str, detail: str, hint: str, with_v: bool
) -> None:
    built = build.build_error_response(
        severity, sqlstate, message, with_v=with_v, detail=detail, hint=hint
    )
    parsed = parse.parse_error_response(built[HEADER_LEN:])
    assert (parsed.severity, parsed.message) == (severity, message)
    assert parsed.fields["C"] == sqlstate
    assert parsed.fields.get("V") == (severity if with_v else None)
    assert (parsed.fields.get("D", ""), parsed.fields.get("H", "")) == (detail, hint)


@pytest.mark.parametrize("body", [b"SFATAL\0Mbroken\0\0", b"SFATAL\0C\0Mbroken\0\0"])
def test_an_error_response_without_sqlstate_is_an_internal_error(body: bytes) -> None:
    parsed = parse.parse_error_response(body)
    assert (parsed.severity, parsed.sqlstate, parsed.message) == ("FATAL", "XX000", "broken")


def test_an_error_response_without_any_field_has_empty_texts() -> None:
    parsed = parse.parse_error_response(b"\0")
    assert (parsed.severity, parsed.sqlstate, parsed.message) == ("", "XX000", "")


def test_the_last_of_equal_error_fields_counts() -> None:
    assert parse.parse_error_response(b"Ma\0Mb\0\0").message == "b"


def test_a_field_type_that_is_no_ascii_letter_is_kept() -> None:
    assert parse.parse_error_response(b"\xe9x\0\0").fields == {"\xe9": "x"}


@given(names, names)
def test_a_parameter_status_comes_back(name: str, value: str) -> None:
    body = build.build_parameter_status(name, value)[HEADER_LEN:]
    assert parse.parse_parameter_status(body) == parse.ParameterStatus(name, value)


@given(raw, raw)
def test_the_bytes_of_a_decoded_text_are_restored(name: bytes, value: bytes) -> None:
    message = build.build_parameter_status(name, value)
    parsed = parse.parse_parameter_status(message[HEADER_LEN:])
    assert build.build_parameter_status(parsed.name, parsed.value) == message


@given(uint32, st.binary(min_size=4, max_size=256))
def test_a_cancel_key_of_any_length_that_3_2_allows_comes_back(pid: int, key: bytes) -> None:
    body = build.build_backend_key_data(pid, key)[HEADER_LEN:]
    assert parse.parse_backend_key_data(body) == parse.BackendKeyData(pid, key)


@pytest.mark.parametrize("length", [0, 3, 257])
def test_a_cancel_key_of_a_length_that_3_2_forbids_is_refused(length: int) -> None:
    with pytest.raises(ProtocolViolation, match=r"^broken BackendKeyData packet$"):
        parse.parse_backend_key_data(b"\0\0\0\x01" + b"k" * length)


@given(st.lists(filled, max_size=5))
def test_sasl_mechanisms_come_back(mechanisms: list[str]) -> None:
    parsed = parse.parse_authentication(build.build_authentication_sasl(mechanisms)[HEADER_LEN:])
    assert parsed.code == codes.AUTH_REQ_SASL
    assert parse.parse_sasl_mechanisms(parsed.rest) == tuple(mechanisms)


@given(st.binary(max_size=60))
def test_sasl_data_comes_back(data: bytes) -> None:
    first = build.build_authentication_sasl_continue(data)[HEADER_LEN:]
    last = build.build_authentication_sasl_final(data)[HEADER_LEN:]
    assert parse.parse_authentication(first) == parse.Authentication(codes.AUTH_REQ_SASL_CONT, data)
    assert parse.parse_authentication(last) == parse.Authentication(codes.AUTH_REQ_SASL_FIN, data)


@given(st.binary(min_size=4, max_size=4))
def test_an_md5_salt_comes_back(salt: bytes) -> None:
    body = build.build_authentication_md5_password(salt)[HEADER_LEN:]
    assert parse.parse_authentication(body) == parse.Authentication(codes.AUTH_REQ_MD5, salt)


@pytest.mark.parametrize("salt", [b"", b"abc", b"abcde"])
def test_an_md5_request_without_four_bytes_of_salt_is_refused(salt: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse.parse_authentication(b"\0\0\0\x05" + salt)


@pytest.mark.parametrize("status", [b"I", b"T", b"E"])
def test_a_transaction_status_comes_back(status: bytes) -> None:
    assert parse.parse_ready_for_query(status) == status[0]


@pytest.mark.parametrize("status", [b"i", b"\0", b"X", b"\xff"])
def test_an_unknown_transaction_status_is_refused(status: bytes) -> None:
    with pytest.raises(ProtocolViolation, match=r"^broken ReadyForQuery packet$"):
        parse.parse_ready_for_query(status)


@given(names)
def test_a_command_tag_comes_back(tag: str) -> None:
    assert parse.parse_command_complete(build.build_command_complete(tag)[HEADER_LEN:]) == tag


@given(st.integers(0, 0xFFFF), st.lists(names, max_size=4))
def test_a_negotiated_version_comes_back(minor: int, options: list[str]) -> None:
    body = build.build_negotiate_protocol_version(minor, options)[HEADER_LEN:]
    expected = parse.NegotiateProtocolVersion(minor, tuple(options))
    assert parse.parse_negotiate_protocol_version(body) == expected


@pytest.mark.parametrize("protocol", [0, 2, 0x20000, 0x40000, 0xFFFFFFFF])
def test_a_negotiated_version_other_than_3_is_refused(protocol: int) -> None:
    with pytest.raises(ProtocolViolation):
        parse.parse_negotiate_protocol_version(protocol.to_bytes(4, "big") + b"\0\0\0\0")


@given(uint32, names, names)
def test_a_notification_comes_back(pid: int, channel: str, payload: str) -> None:
    body = build.build_notification_response(pid, channel, payload)[HEADER_LEN:]
    expected = parse.NotificationResponse(pid, channel, payload)
    assert parse.parse_notification_response(body) == expected


@given(st.lists(columns, max_size=4))
def test_a_row_description_comes_back(described: list[parse.Column]) -> None:
    body = build.build_row_description(described)[HEADER_LEN:]
    assert parse.parse_row_description(body) == tuple(described)


@given(values)
def test_a_data_row_comes_back(row: list[bytes | None]) -> None:
    assert parse.parse_data_row(build.build_data_row(row)[HEADER_LEN:]) == tuple(row)


def test_a_row_may_have_as_many_columns_as_an_unsigned_count_holds() -> None:
    row = (None,) * 65535
    assert parse.parse_data_row(build.build_data_row(row)[HEADER_LEN:]) == row


@given(st.lists(uint32, max_size=5))
def test_parameter_types_come_back(oids: list[int]) -> None:
    body = build.build_parameter_description(oids)[HEADER_LEN:]
    assert parse.parse_parameter_description(body) == tuple(oids)


@given(raw)
def test_a_query_and_a_password_come_back(text: bytes) -> None:
    assert parse.parse_query(build.build_query(text)[HEADER_LEN:]) == text
    assert parse.parse_password_message(build.build_password_message(text)[HEADER_LEN:]) == text


@given(raw, raw, st.lists(uint32, max_size=5))
def test_a_parse_comes_back_and_can_be_built_again(
    name: bytes, query: bytes, oids: list[int]
) -> None:
    message = build.build_parse(name, query, oids)
    parsed = parse.parse_parse(message[HEADER_LEN:])
    assert (parsed.name, parsed.query, len(parsed.oids)) == (name, query, 4 * len(oids))
    assert build.build_parse(parsed.name, parsed.query, parsed.oids) == message


@given(raw, raw, values, formats, formats)
def test_a_bind_comes_back(
    portal: bytes,
    statement: bytes,
    parameters: list[bytes | None],
    parameter_formats: list[int],
    result_formats: list[int],
) -> None:
    message = build.build_bind(
        portal,
        statement,
        parameters,
        parameter_formats=parameter_formats,
        result_formats=result_formats,
    )
    body = message[HEADER_LEN:]
    parsed = parse.parse_bind(body)
    assert (parsed.portal, parsed.statement) == (portal, statement)
    assert parsed.parameters == tuple(parameters)
    assert parsed.parameter_formats == tuple(parameter_formats)
    assert parsed.result_formats == tuple(result_formats)
    start = parse.parse_bind_names(body)
    assert (start.portal, start.statement) == (portal, statement)
    assert body[: start.rest_at] == portal + b"\0" + statement + b"\0"


def test_the_names_of_a_bind_are_read_before_its_values_are_here() -> None:
    assert parse.parse_bind_names(b"p\0s\0") == parse.BindNames(b"p", b"s", 4)
    for length in range(4):
        with pytest.raises(ProtocolViolation, match=r"^broken Bind packet$"):
            parse.parse_bind_names(b"p\0s\0"[:length])


@given(kinds, raw)
def test_a_describe_and_a_close_come_back(kind: int, name: bytes) -> None:
    target = parse.Target(kind, name)
    assert parse.parse_describe(build.build_describe(kind, name)[HEADER_LEN:]) == target
    assert parse.parse_close(build.build_close(kind, name)[HEADER_LEN:]) == target


@pytest.mark.parametrize("parser", [parse.parse_describe, parse.parse_close])
def test_a_target_that_is_neither_statement_nor_portal_is_refused(
    parser: Callable[[bytes], object],
) -> None:
    with pytest.raises(ProtocolViolation, match=r"^broken (Describe|Close) packet$"):
        parser(b"Xname\0")


@given(raw, int32)
def test_an_execute_comes_back(portal: bytes, max_rows: int) -> None:
    body = build.build_execute(portal, max_rows)[HEADER_LEN:]
    assert parse.parse_execute(body) == parse.Execute(portal, max_rows)


@given(names, st.none() | st.binary(max_size=30))
def test_a_sasl_initial_response_comes_back(mechanism: str, data: bytes | None) -> None:
    body = build.build_sasl_initial_response(mechanism, data)[HEADER_LEN:]
    expected = parse.SASLInitialResponse(mechanism, data)
    assert parse.parse_sasl_initial_response(body) == expected


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 2])
def test_a_sasl_length_beyond_the_message_is_refused(length: int) -> None:
    """CVE-2026-6664: the length is a number that the client chose."""
    with pytest.raises(ProtocolViolation):
        parse.parse_sasl_initial_response(b"M\0" + length.to_bytes(4, "big") + b"n,,n=,r=x")
