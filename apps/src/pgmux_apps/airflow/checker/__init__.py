"""DAG files judged from their source: nothing in them is imported or run.

`folder` finds the files, `document` reads one, `names` says what a name in it means, `objects` what
database object a value is, and one module a rule looks at it: `tasks` AIR001, `at_import` AIR002,
`ports` AIR003, `closing` AIR004, `prepared` AIR006. `run` puts them together.
"""
