"""pgmux: a PostgreSQL connection pooler that takes over a PgBouncer deployment as it stands."""

import os

from pgmux import _pure

__version__ = "0.1.0.dev0"

_pure.install(pure=os.environ.get("PGMUX_PURE") == "1")
