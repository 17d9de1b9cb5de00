"""What runs inside an application beside a pooler; each part needs its own framework only."""

__version__ = "0.1.0.dev0"
