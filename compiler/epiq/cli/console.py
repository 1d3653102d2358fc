"""Where the commands print: plain lines that read well in a terminal and in a log."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

# A log has no width; tables must not be cut to 80 columns there.
_WIDTH = None if os.isatty(1) else 120

console = Console(width=_WIDTH, highlight=False, soft_wrap=False)
errors = Console(stderr=True, width=_WIDTH, highlight=False)


def fail(error: BaseException) -> None:
    """Prints an error on stderr, with its traceback when EPIQ_TRACEBACK is set."""
    if os.environ.get("EPIQ_TRACEBACK"):
        traceback.print_exception(error)
    errors.print(Text(f"epiq: {error}"))


class Progress:
    """Numbers the steps of a command and says how long each took.

    with progress.step("trace a layer") as notes:
        notes.append("12 quantizations")        # printed beside the time
    """

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._done = 0
        self._start = time.perf_counter()

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        self._done += 1
        mark = f"[{self._done}/{self._num_steps}]"
        console.print(Text(f"{mark} {title} ..."))
        start = time.perf_counter()
        notes: list[str] = []
        yield notes
        seconds = time.perf_counter() - start
        text = ", ".join([*notes, f"{seconds:.1f} s"])
        console.print(Text(f"{' ' * len(mark)} {text}"), style="dim")

    def seconds(self) -> float:
        """Since the first step."""
        return time.perf_counter() - self._start
