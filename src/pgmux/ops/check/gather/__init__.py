"""Reads files, environment, machine, PostgreSQL and console. One module a part of `Evidence`.

Each has `gather(...)`, which answers its facts, or an `Unread` that says why there are none.
"""
