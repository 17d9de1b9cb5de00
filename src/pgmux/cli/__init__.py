"""The command `pgmux`: one file a command group, each thin."""
