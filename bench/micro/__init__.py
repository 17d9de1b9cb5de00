"""What the hot parts cost without a socket, in both forms: `python -m bench.micro`."""
