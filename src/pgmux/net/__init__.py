"""Sockets, the event loop, threads: the only place that has them, and what is right of it."""
