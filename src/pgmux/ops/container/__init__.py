"""A container's environment variables become pgbouncer.ini and userlist.txt.

`environment` reads the variables, `backends` the databases they name, `files` makes the texts;
`prepare` does it all for one directory. Source: edoburu/pgbouncer's README and entrypoint.sh,
whose variables are honoured; where this differs is in docs/containers.md.
"""
