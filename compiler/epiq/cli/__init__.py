"""The `epiq` command."""

from epiq.cli.app import app, main

__all__ = ["app", "main"]
