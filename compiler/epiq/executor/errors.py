"""What the executor raises, and the place in the IR that each error names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epiq.errors import EpiqError

_FILE_LINE = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):(\d+)')


@dataclass(frozen=True)
class Site:
    """One op of the IR: its name and `file:line:col` ("unknown" when the IR carries none)."""

    op: str
    location: str

    @staticmethod
    def of(op: str, location: str, filename: str = "<ir>") -> Site:
        """Reads MLIR's text of a location; of a call stack it keeps the innermost frame.

        filename: stands for `-`, MLIR's name of a text without locations of its own.
        """
        found = _FILE_LINE.search(location)
        if found is None:
            return Site(op, "unknown")
        name, line, column = found.groups()
        return Site(op, f"{filename if name == '-' else name}:{line}:{column}")


class ExecutionError(EpiqError):
    """A kernel did what no kernel may do, at one op, in one program.

    Attributes: reason: what was wrong. op: the op's name. location: `file:line:col`.
    program: the (x, y, z) id of the first program that did it.
    """

    def __init__(self, reason: str, site: Site, program: tuple[int, int, int]) -> None:
        self.reason = reason
        self.op = site.op
        self.location = site.location
        self.program = program
        super().__init__(f"{site.location}: {site.op}: program {program}: {reason}")
