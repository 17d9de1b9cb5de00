"""Authentication, sans-IO: of clients to us (`client_auth`) and of us to servers (`server_auth`).

Nothing here has a socket, a clock, randomness or a log: bytes, salts and nonces are arguments, and
every event is answered with a `Step`. Hostile input raises `AuthenticationFailed` and nothing else.
"""
