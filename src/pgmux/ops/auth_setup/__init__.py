"""auth_query made ready: a role that may do nothing else, and a function that reads verifiers.

`setup` is what is wanted, `state` what is there, `steps` and `undo` the statements in between, one
transaction a database; `run` goes through the databases, `password` and `files` see to auth_file
and pgbouncer.ini, `trial` asks the function as the role does. docs/users.md tells the why.
"""
