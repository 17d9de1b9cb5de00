"""`pgmux cutover plan`: what to move to the pooler first, and what can't simply be moved.

`signs` are what PostgreSQL shows of session state, `gather` looks for a while, `judge` makes a plan
of it with what the configuration says (`target`), `report` writes it.
"""
