"""The fixtures of `site`."""

from tests.e2e.ops.cutover.site import kind, running, site

__all__ = ["kind", "running", "site"]
