"""A project whose settings of databases the environment has: PROJECT, as JSON."""

import json
import os

_said = json.loads(os.environ.get("PROJECT", "{}"))

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "pgmux_apps.django",
    "shop",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "urls"
MIDDLEWARE = []
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
globals().update(_said)
