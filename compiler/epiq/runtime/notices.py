"""What is said to the user of a model once, however many graphs and kernels it is true of."""

from __future__ import annotations

import logging

log = logging.getLogger("epiq")

_said: set[str] = set()


def warn_once(message: str) -> None:
    """Logs a warning that was not logged before in this process."""
    if message not in _said:
        _said.add(message)
        log.warning("%s", message)
