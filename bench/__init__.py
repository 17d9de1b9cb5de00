"""What pgmux costs beside PgBouncer: `python -m bench`; `bench.micro` is without sockets."""


class BenchError(RuntimeError):
    """This can't be measured: what is missing or failed, and what to do."""
