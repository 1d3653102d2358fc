"""Makes every new context know our dialects, and registers our passes once."""

from ._epiqRegistration import register_dialects, register_passes

__all__ = ["register_dialects"]

register_passes()
