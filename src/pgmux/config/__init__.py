"""Configuration: the texts of pgbouncer.ini, pgmux.ini and userlist.txt become frozen values, and nothing else.

`load_config` makes a `Config`, `diff_config` says what a RELOAD has to do, `apply_set` is the console's SET.
Strings come in through a `read` function; no file, socket or clock is touched here.
"""
