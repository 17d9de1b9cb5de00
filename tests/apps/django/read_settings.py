"""Runs the checks on settings of many projects, under the Django whose Python runs this.

stdin: JSON, a list of [DATABASES, PGMUX, further arguments of read_project], where {"lazy": value}
is a lazy object; stdout: for each its messages, as [id, place, message, hint].
"""

import json
import sys

from django.utils.functional import SimpleLazyObject

from pgmux_apps.django.checks import messages_of
from pgmux_apps.django.project import read_project


def messages(databases, pgmux, more):
    project, problems = read_project(databases, pgmux, **{"environment": {}, **more})
    found = [*problems, *messages_of(project)]
    return [[each.id, each.obj, each.msg, each.hint] for each in found]


def lazy(value):
    return SimpleLazyObject(lambda: value["lazy"]) if set(value) == {"lazy"} else value


if "psycopg2" in sys.argv:
    sys.modules["psycopg"] = None  # Django takes psycopg2 where psycopg isn't there
sys.modules["os.path"].expanduser = lambda path: "/nowhere"  # no ~/.pgpass
json.dump([messages(*each) for each in json.load(sys.stdin, object_hook=lazy)], sys.stdout)
