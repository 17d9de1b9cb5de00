"""A load on PostgreSQL, straight or through a pooler: planned, run, counted, judged and shown.

`plan` (what is asked when), `statements` (what is asked), `target` (whom), `room` (whether this
machine can), `clients` (how), `running` (rounds and workers), `tally` (what came of it), `judge`,
`report` (all of it as values), `text` and `page` (as a terminal and as a browser show it).
"""
