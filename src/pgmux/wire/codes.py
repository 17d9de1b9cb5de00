"""Codes of the wire protocol, named as in PostgreSQL's `libpq/protocol.h` and `libpq/pqcomm.h`.

Message types are the Byte1 that starts every message after startup, here as ints because
indexing bytes gives ints. The same letter means different messages in the two directions
('C' is Close from a client and CommandComplete from a server), so a type is only meaningful
together with the side that sent it: frontend names and backend names have sections of their own.

Source: PostgreSQL, "Message Formats" (55.7); protocol 3.2 as of PostgreSQL 18.
"""

from __future__ import annotations

from typing import Final

# Sent by the frontend.
BIND: Final = ord("B")
CLOSE: Final = ord("C")
DESCRIBE: Final = ord("D")
EXECUTE: Final = ord("E")
FUNCTION_CALL: Final = ord("F")
FLUSH: Final = ord("H")
PARSE: Final = ord("P")
QUERY: Final = ord("Q")
SYNC: Final = ord("S")
TERMINATE: Final = ord("X")
COPY_FAIL: Final = ord("f")
# One letter for four messages: which one it is follows from the authentication under way.
GSS_RESPONSE: Final = ord("p")
PASSWORD_MESSAGE: Final = ord("p")
SASL_INITIAL_RESPONSE: Final = ord("p")
SASL_RESPONSE: Final = ord("p")

# Sent by the backend.
PARSE_COMPLETE: Final = ord("1")
BIND_COMPLETE: Final = ord("2")
CLOSE_COMPLETE: Final = ord("3")
NOTIFICATION_RESPONSE: Final = ord("A")
COMMAND_COMPLETE: Final = ord("C")
DATA_ROW: Final = ord("D")
ERROR_RESPONSE: Final = ord("E")
COPY_IN_RESPONSE: Final = ord("G")
COPY_OUT_RESPONSE: Final = ord("H")
EMPTY_QUERY_RESPONSE: Final = ord("I")
BACKEND_KEY_DATA: Final = ord("K")
NOTICE_RESPONSE: Final = ord("N")
AUTHENTICATION_REQUEST: Final = ord("R")
PARAMETER_STATUS: Final = ord("S")
ROW_DESCRIPTION: Final = ord("T")
FUNCTION_CALL_RESPONSE: Final = ord("V")
COPY_BOTH_RESPONSE: Final = ord("W")
READY_FOR_QUERY: Final = ord("Z")
NO_DATA: Final = ord("n")
PORTAL_SUSPENDED: Final = ord("s")
PARAMETER_DESCRIPTION: Final = ord("t")
NEGOTIATE_PROTOCOL_VERSION: Final = ord("v")

# Sent by both.
COPY_DONE: Final = ord("c")
COPY_DATA: Final = ord("d")

# The Int32 after the length of a packet without type byte: major << 16 | minor.
PROTOCOL_2_0: Final = 0x0002_0000
PROTOCOL_3_0: Final = 0x0003_0000
PROTOCOL_3_2: Final = 0x0003_0002
CANCEL_REQUEST: Final = 80877102
SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104

# The Int32 that starts an AuthenticationRequest.
AUTH_REQ_OK: Final = 0
AUTH_REQ_KRB5: Final = 2
AUTH_REQ_PASSWORD: Final = 3
AUTH_REQ_MD5: Final = 5
AUTH_REQ_GSS: Final = 7
AUTH_REQ_GSS_CONT: Final = 8
AUTH_REQ_SSPI: Final = 9
AUTH_REQ_SASL: Final = 10
AUTH_REQ_SASL_CONT: Final = 11
AUTH_REQ_SASL_FIN: Final = 12

# The Byte1 of ReadyForQuery.
TRANSACTION_IDLE: Final = ord("I")
TRANSACTION_BLOCK: Final = ord("T")
TRANSACTION_FAILED: Final = ord("E")

# The Byte1 of Describe and Close.
KIND_STATEMENT: Final = ord("S")
KIND_PORTAL: Final = ord("P")

# Format codes of parameters, columns and COPY.
FORMAT_TEXT: Final = 0
FORMAT_BINARY: Final = 1

# A cancel key's secret part: always 4 bytes up to protocol 3.0, 4 to 256 in 3.2.
MIN_CANCEL_KEY_LEN: Final = 4
MAX_CANCEL_KEY_LEN: Final = 256
