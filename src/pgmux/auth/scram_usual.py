"""The exchange of SCRAM-SHA-256 as it nearly always is, with a user who has logged in before: no
channel binding, no extensions, a message a packet, the right password.

An abbreviation of `client_auth` and `scram`, which say what each step means: what follows from the
stored secret is worked out once for all logins, and each message is compared as a whole with what
it has to be. Whatever is otherwise is left to them, by whom alone a client is refused.

Errors: none.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import struct

from pgmux.auth.scram import KEY_LEN, MECHANISM, ScramKeys, ScramSecret
from pgmux.auth.secrets import Secret
from pgmux.wire import build, codes

_MAX_LEN = 256  # of an initial response; libpq's has 52 bytes
_PROOF_LEN = 44  # KEY_LEN in base64
_FIRST_HEAD_LEN = 1 + 4 + len(MECHANISM) + 1 + 4
_FIRST = re.compile(
    rb"p(.{4})" + MECHANISM.encode() + rb"\0(.{4})n,,(n=[^,\0]*,r=([!-+\--~]+))", re.DOTALL
).fullmatch
_FINAL_HEAD = struct.Struct(">BI").pack
_SIGNED_HEAD = build.build_authentication_sasl_final(b"v=" + bytes(_PROOF_LEN))[:-_PROOF_LEN]


class HmacKey:
    """HMAC-SHA-256 with a key that is hashed once for all messages: that and OpenSSL's search for
    the algorithm are about a third of `hmac.digest()`.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def digest(self, message: bytes) -> bytes:
        """32 bytes."""
        signed = self._keyed.copy()
        signed.update(message)
        return signed.digest()


class KnownScram:
    """A secret that a client has shown to know, and what its next logins have in common. To be kept
    no longer than the secret itself.

    `secret` is the one that counts, with what SCRAM needs also where it is the password; `keys`
    are those that the client has shown to have, where they are worth anything to a server.
    """

    __slots__ = ("challenge_tail", "keys", "secret", "server_key", "stored_hash", "stored_key")

    def __init__(self, secret: Secret, scram: ScramSecret, keys: ScramKeys | None) -> None:
        self.secret = Secret(secret.kind, secret.text, scram)
        self.keys = keys
        salt = binascii.b2a_base64(scram.salt, newline=False)
        self.challenge_tail = b",s=%b,i=%d" % (salt, scram.iterations)
        self.stored_hash = scram.stored_key
        self.stored_key = HmacKey(scram.stored_key)
        self.server_key = HmacKey(scram.server_key)


class UsualScram:
    """One login's exchange. Once it has answered None it is over, and `client_auth.resume_scram`
    goes on from there, with the same message.
    """

    __slots__ = ("_auth_message", "_final_head", "first", "known", "nonce")

    def __init__(self, known: KnownScram, nonce: str) -> None:
        """`nonce` is our random part: printable, no comma."""
        self.known = known
        self.nonce = nonce
        self.first = b""  # the client's first message, once it has been answered
        self._final_head = b""
        self._auth_message = b""

    def on_first(self, message: bytes) -> bytes | None:
        """The challenge that answers SASLInitialResponse, both with their heads."""
        length = len(message)
        usual = _FIRST(message) if length <= _MAX_LEN else None
        if usual is None:
            return None
        whole, inner, bare, client_nonce = usual.groups()
        if int.from_bytes(whole, "big") != length - 1:
            return None
        if int.from_bytes(inner, "big") != length - _FIRST_HEAD_LEN:
            return None
        self.first = message
        nonce = client_nonce + self.nonce.encode()
        challenge = b"r=" + nonce + self.known.challenge_tail
        without_proof = b"c=biws,r=" + nonce
        self._auth_message = b"%b,%b,%b" % (bare, challenge, without_proof)
        final_len = 4 + len(without_proof) + 3 + _PROOF_LEN
        self._final_head = _FINAL_HEAD(codes.PASSWORD_MESSAGE, final_len) + without_proof + b",p="
        return build.build_authentication_sasl_continue(challenge)

    def on_final(self, message: bytes) -> bytes | None:
        """The server's signature that answers SASLResponse, both with their heads, where the client
        has shown that it knows the secret.
        """
        if message[:-_PROOF_LEN] != self._final_head:
            return None
        try:
            proof = binascii.a2b_base64(message[-_PROOF_LEN:], strict_mode=True)
        except ValueError:
            return None
        if len(proof) != KEY_LEN:
            return None
        known = self.known
        auth_message = self._auth_message
        signature = int.from_bytes(known.stored_key.digest(auth_message), "big")
        client_key = (int.from_bytes(proof, "big") ^ signature).to_bytes(KEY_LEN, "big")
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), known.stored_hash):
            return None
        signed = known.server_key.digest(auth_message)
        return _SIGNED_HEAD + binascii.b2a_base64(signed, newline=False)
