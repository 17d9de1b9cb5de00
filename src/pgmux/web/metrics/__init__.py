"""What SHOW says, as Prometheus's metric families.

`scrape` is what a scrape asks the console; of its tables, `pgbouncer` makes the families whose
names the community of PgBouncer has, `own` those of pgmux, `histograms` the distributions of times.
`text` writes them down. The route is `pgmux.web.exposition`.
"""
