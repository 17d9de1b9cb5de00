"""Counters, copied and averaged: what the console and the log say of the pooler's work."""
