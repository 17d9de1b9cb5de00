"""`manage.py`, many times: each a fork of this process, which has imported Django already.

stdin: lines of JSON, {"arguments": […], "env": {…}}; stdout: for each [exit code, stdout, stderr].
"""

import json
import os
import sys
import tempfile
import traceback

import django.db.backends.postgresql.base  # noqa: F401
from django.core.management import execute_from_command_line

import pgmux_apps.django.management.commands.pgmux_check  # noqa: F401


def manage(arguments, env):
    os.environ.clear()
    os.environ.update(env)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    try:
        execute_from_command_line(["manage.py", *arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(arguments, env):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = manage(arguments, env)
                sys.stdout.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return [code, *texts]


for line in sys.stdin:
    print(json.dumps(run(**json.loads(line))), flush=True)
