"""What pgmux_check adds to the system checks: what the database and its pooler answer."""
