"""Django behind a pooler: system checks, and `manage.py pgmux_check`.

`INSTALLED_APPS += ["pgmux_apps.django"]` is all; PGMUX in the settings says what can't be told from
DATABASES. Nothing here imports psycopg: whichever driver the project has is used, by Django.
"""
