"""`manage.py pgmux_check`."""
