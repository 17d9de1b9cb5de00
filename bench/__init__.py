"""CPU per transaction and memory per client, pgmux against PgBouncer: `python -m bench`."""
