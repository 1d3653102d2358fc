"""The `epiq` dialect: generated op classes."""

from ._epiq_ops_gen import *  # noqa: F403
