"""Built messages against bytes written by hand from PostgreSQL's "Message Formats" chapter."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pgmux.wire import build, codes
from pgmux.wire.parse import Column

EXPECTED: list[tuple[bytes, bytes]] = [
    (build.build_ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
    (build.build_gssenc_request(), b"\0\0\0\x08\x04\xd2\x16\x30"),
    (build.build_cancel_request(7, b"abcd"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd"),
    (build.build_startup_message({"user": "u"}), b"\0\0\0\x10\0\x03\0\0user\0u\0\0"),
    (
        build.build_startup_message([("user", b"\xff")], codes.PROTOCOL_3_2),
        b"\0\0\0\x10\0\x03\0\x02user\0\xff\0\0",
    ),
    (build.build_query("select 1"), b"Q\0\0\0\x0dselect 1\0"),
    (build.build_parse("s", "q", [23]), b"P\0\0\0\x0es\0q\0\0\x01\0\0\0\x17"),
    (build.build_parse("s", "q", b"\0\0\0\x17"), b"P\0\0\0\x0es\0q\0\0\x01\0\0\0\x17"),
    (
        build.build_bind("p", "s", [b"x", None], parameter_formats=[1], result_formats=[0, 1]),
        b"B\0\0\0\x1dp\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x02\0\0\0\x01",
    ),
    (build.build_describe(codes.KIND_STATEMENT, "s"), b"D\0\0\0\x07Ss\0"),
    (build.build_close(codes.KIND_PORTAL, "p"), b"C\0\0\0\x07Pp\0"),
    (build.build_execute("p", 5), b"E\0\0\0\x0ap\0\0\0\0\x05"),
    (build.build_sync(), b"S\0\0\0\x04"),
    (build.build_flush(), b"H\0\0\0\x04"),
    (build.build_terminate(), b"X\0\0\0\x04"),
    (
        build.build_function_call(9, [b"x", None], argument_formats=[1], result_format=1),
        b"F\0\0\0\x19\0\0\0\x09\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01",
    ),
    (build.build_copy_data(b"\0x"), b"d\0\0\0\x06\0x"),
    (build.build_copy_done(), b"c\0\0\0\x04"),
    (build.build_copy_fail("no"), b"f\0\0\0\x07no\0"),
    (build.build_copy_in_response([0, 0]), b"G\0\0\0\x0b\0\0\x02\0\0\0\0"),
    (build.build_copy_out_response([1]), b"H\0\0\0\x09\x01\0\x01\0\x01"),
    (build.build_password_message("pw"), b"p\0\0\0\x07pw\0"),
    (build.build_sasl_initial_response("M", b"ab"), b"p\0\0\0\x0cM\0\0\0\0\x02ab"),
    (build.build_sasl_initial_response("M", None), b"p\0\0\0\x0aM\0\xff\xff\xff\xff"),
    (build.build_sasl_response(b"ab"), b"p\0\0\0\x06ab"),
    (build.build_authentication_ok(), b"R\0\0\0\x08\0\0\0\0"),
    (build.build_authentication_cleartext_password(), b"R\0\0\0\x08\0\0\0\x03"),
    (build.build_authentication_md5_password(b"salt"), b"R\0\0\0\x0c\0\0\0\x05salt"),
    (build.build_authentication_sasl(["A", "B"]), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"),
    (build.build_authentication_sasl_continue(b"r=1"), b"R\0\0\0\x0b\0\0\0\x0br=1"),
    (build.build_authentication_sasl_final(b"v=1"), b"R\0\0\0\x0b\0\0\0\x0cv=1"),
    (
        build.build_negotiate_protocol_version(2, ["_pq_.a"]),
        b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.a\0",
    ),
    (build.build_parameter_status("a", "b"), b"S\0\0\0\x08a\0b\0"),
    (build.build_backend_key_data(1, b"abcd"), b"K\0\0\0\x0c\0\0\0\x01abcd"),
    (build.build_backend_key_data(1, b"k" * 32), b"K\0\0\0\x28\0\0\0\x01" + b"k" * 32),
    (build.build_ready_for_query(), b"Z\0\0\0\x05I"),
    (build.build_ready_for_query(codes.TRANSACTION_FAILED), b"Z\0\0\0\x05E"),
    (build.build_error_response("FATAL", "08P01", "m"), b"E\0\0\0\x16SFATAL\0C08P01\0Mm\0\0"),
    (
        build.build_error_response("ERROR", "XX000", "m", with_v=True, detail="d", hint="h"),
        b"E\0\0\0\x23SERROR\0VERROR\0CXX000\0Mm\0Dd\0Hh\0\0",
    ),
    (build.build_notice_response("NOTICE", "00000", "m"), b"N\0\0\0\x17SNOTICE\0C00000\0Mm\0\0"),
    (
        build.build_row_description([Column("c", type_oid=25, typlen=-1)]),
        b"T\0\0\0\x1a\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
    ),
    (
        build.build_data_row([b"x", None, b""]),
        b"D\0\0\0\x13\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\0",
    ),
    (build.build_command_complete("SELECT 1"), b"C\0\0\0\x0dSELECT 1\0"),
    (build.build_empty_query_response(), b"I\0\0\0\x04"),
    (build.build_parse_complete(), b"1\0\0\0\x04"),
    (build.build_bind_complete(), b"2\0\0\0\x04"),
    (build.build_close_complete(), b"3\0\0\0\x04"),
    (build.build_no_data(), b"n\0\0\0\x04"),
    (build.build_portal_suspended(), b"s\0\0\0\x04"),
    (build.build_parameter_description([23, 25]), b"t\0\0\0\x0e\0\x02\0\0\0\x17\0\0\0\x19"),
    (build.build_notification_response(1, "ch", "x"), b"A\0\0\0\x0d\0\0\0\x01ch\0x\0"),
]


@pytest.mark.parametrize(("built", "expected"), EXPECTED)
def test_a_message_is_laid_out_as_postgresql_documents_it(built: bytes, expected: bytes) -> None:
    assert built == expected


@pytest.mark.parametrize(
    "build_with",
    [
        build.build_query,
        build.build_password_message,
        build.build_copy_fail,
        build.build_command_complete,
        lambda text: build.build_parse(text, "q"),
        lambda text: build.build_parse("s", text),
        lambda text: build.build_bind(text, "s"),
        lambda text: build.build_bind("p", text),
        lambda text: build.build_describe(codes.KIND_STATEMENT, text),
        lambda text: build.build_close(codes.KIND_STATEMENT, text),
        lambda text: build.build_execute(text),
        lambda text: build.build_parameter_status(text, "v"),
        lambda text: build.build_parameter_status("n", text),
        lambda text: build.build_error_response("FATAL", "08P01", text),
        lambda text: build.build_notice_response("NOTICE", "00000", text),
        lambda text: build.build_sasl_initial_response(text, b""),
        lambda text: build.build_authentication_sasl([text]),
        lambda text: build.build_startup_message({"user": text}),
        lambda text: build.build_startup_message({text: "u"}),
        lambda text: build.build_row_description([Column(text, 25, -1)]),
    ],
)
def test_a_text_with_a_nul_is_refused(build_with: Callable[[str], bytes]) -> None:
    assert build_with("ab")
    with pytest.raises(ValueError, match="NUL"):
        build_with("a\0b")


def test_a_text_with_a_nul_is_refused_as_bytes_too() -> None:
    with pytest.raises(ValueError, match="NUL"):
        build.build_query(b"a\0b")


def test_an_empty_parameter_name_would_end_the_startup_message_and_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        build.build_startup_message({"user": "u", "": "x"})


def test_a_salt_of_other_than_four_bytes_is_refused() -> None:
    with pytest.raises(struct.error):
        build.build_authentication_md5_password(b"12345")
