"""`pgmux web`: a process that reads a console and serves what it says by HTTP.

`server` is the process, `door` its connections, `access` who may ask, `app` what there is to ask
for, and `keys` what its handlers share. The parts are `exposition` (with `metrics/`), `health`
(with `readiness`), and `dashboard` with `actions` (the rest). It knows the pooler by its console
alone, so that it serves a PgBouncer as well and can't harm the pooler that has started it.
"""
