"""Reading a console from outside: pgmux's own, or that of a PgBouncer from 1.18 on.

`console` is the interface and how to get one; `shared` is what both kinds of it have in common,
`by_conninfo` and `by_descriptor` are the two. Nothing here knows the pooler's own modules.
"""
