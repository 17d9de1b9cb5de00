"""Composition root: the process's life, its command line, its log, and what it runs."""
