"""Django behind a pooler: system checks, and `manage.py pgmux_check`."""
