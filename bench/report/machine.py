"""On what it was measured."""

from __future__ import annotations

import os
import platform
import time


def machine() -> str:
    """When and on what this was measured."""
    date = time.strftime("%Y-%m-%d")
    python = platform.python_version()
    return f"{date}, {os.cpu_count()} cores, Linux {platform.release()}, Python {python}"
