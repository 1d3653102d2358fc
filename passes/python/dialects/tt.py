"""Triton's `tt` dialect: generated op classes."""

from ._tt_ops_gen import *  # noqa: F403
