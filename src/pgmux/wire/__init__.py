"""Bytes <-> messages of PostgreSQL's protocol; no state beyond one stream."""
