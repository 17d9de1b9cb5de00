"""`pgmux cutover`: applications moved from PostgreSQL's port to the pooler's, and what came of it.

`look` takes one sample of both sides, `follow` one after another; `screen` shows them, `recording`
keeps them, `summary` and `report` compare two periods. `plan/` says beforehand what to move first.
"""
