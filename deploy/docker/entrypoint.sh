#!/bin/sh
# Under this name as in edoburu/pgbouncer, for commands that call it themselves.
exec pgmux container "$@"
