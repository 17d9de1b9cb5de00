"""The console's client: what `pgmux console` does, for pgmux and PgBouncer alike.

`place` says where the console is, `connection` speaks to it in the simple query protocol, `session`
runs commands one after another, `output` prints their results, `interactive` is the prompt.
"""
