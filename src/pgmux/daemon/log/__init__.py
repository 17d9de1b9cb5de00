"""The log: what is said (`log`), how a line is written (`formats`), where it goes (`sinks`), and
how much of it others can cause (`floods`).
"""

from pgmux.daemon.log.log import Log, cannot_open

__all__ = ["Log", "cannot_open"]
