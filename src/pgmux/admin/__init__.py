"""The admin console: what a client of the database `pgbouncer` talks to. Sans-IO."""
