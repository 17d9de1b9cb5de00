"""The files of a new deployment, sized for a PostgreSQL and closed by default.

`facts` asks PostgreSQL, or assumes; `sizes` does the arithmetic; `texts` writes each file; `plan`
puts them together and tries whether the configuration can be used.
"""
