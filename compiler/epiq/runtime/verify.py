"""Runs a fused group beside its unfused form, on the first inputs of each bucket of token counts.

What the two give is compared bit for bit. Where torch itself computes a part of the unfused form whose last
bits depend on the order of a sum or on a mathematical library, those bits say nothing: such a result is
counted apart, and not held against the group.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.errors import EpiqError
from epiq.runtime.bits import BitDifference, bit_difference
from epiq.runtime.buckets import bucket
from epiq.runtime.inputs import count_rows
from epiq.runtime.kernel import Kernel

log = logging.getLogger("epiq")

_KEPT = 4096


class VerifyError(EpiqError, RuntimeError):
    """A fused group does not give the bits of its unfused form."""


@dataclass(frozen=True)
class Verified:
    """One result of one run. exact: its bits must agree. difference: None where they do."""

    what: str
    exact: bool
    difference: BitDifference | None


@dataclass(frozen=True)
class Verification:
    """One run of one group over `rows` rows. failed: why the unfused form could not be run, else ""."""

    name: str
    key: str
    rows: int
    results: tuple[Verified, ...] = ()
    failed: str = ""

    @property
    def wrong(self) -> tuple[Verified, ...]:
        return tuple(each for each in self.results if each.exact and each.difference is not None)

    def __str__(self) -> str:
        if self.failed:
            return f"{self.name}, {self.rows} rows: not verified: {self.failed}"
        if not self.wrong:
            return f"{self.name}, {self.rows} rows: the bits of its unfused form"
        said = "; ".join(f"{each.what}: {each.difference}" for each in self.wrong)
        return f"{self.name}, {self.rows} rows: not the bits of its unfused form: {said}"


_recent: deque[Verification] = deque(maxlen=_KEPT)


def verifications() -> list[Verification]:
    """What was verified in this process, oldest first."""
    return list(_recent)


@dataclass(frozen=True)
class Unfused:
    """The unfused form of a group.

    run: takes the sizes, then the inputs. sizes: (input, dimension) of each. places: index of the group's
    result -> that of the same value in what `run` returns. exact: for each value that `run` returns.
    """

    run: Callable[..., Sequence[Tensor]]
    sizes: tuple[tuple[int, int], ...]
    places: dict[int, int]
    exact: tuple[bool, ...]
    text: str


class VerifiedKernel:
    """A kernel that is compared with its unfused form before its results are trusted.

    Runs of a CUDA graph's capture are not compared, and neither are counts whose bucket was.
    raises: VerifyError where bits differ; otherwise it is logged as a warning.
    """

    def __init__(self, kernel: Kernel, unfused: Unfused, raises: bool) -> None:
        self.kernel = kernel
        self.unfused = unfused
        self.raises = raises
        said = f"{unfused.text} {unfused.sizes} {unfused.places} {raises}"
        self.key = f"verified.{kernel.key}.{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        self._seen: set[tuple[int | None, int]] = set()

    def fake(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as tracing sees them."""
        return self.kernel.fake(inputs)

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        rows = count_rows(self.kernel.program.inputs, inputs, self.kernel.program.num_rows)
        device = inputs[0].device
        place = (device.index, bucket(rows))
        capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if rows == 0 or place in self._seen or capturing:
            return self.kernel(inputs)
        self._seen.add(place)
        # The group may write into its inputs, and so may the unfused form.
        copies = [x.clone() for x in inputs]
        found = self.kernel(inputs)
        self._report(self._compare(inputs, found, copies, rows))
        return found

    def _compare(
        self, inputs: list[Tensor], found: list[Tensor], copies: list[Tensor], rows: int
    ) -> Verification:
        name, key = self.kernel.program.name, self.kernel.key
        try:
            sizes = [copies[index].shape[dim] for index, dim in self.unfused.sizes]
            with torch.no_grad():
                wanted = self.unfused.run(*sizes, *copies)
        except Exception as error:
            return Verification(name, key, rows, failed=f"{type(error).__name__}: {error}")
        results = [
            Verified(
                f"result {index}", self.unfused.exact[place], bit_difference(found[index], wanted[place])
            )
            for index, place in self.unfused.places.items()
        ]
        results += [
            Verified(f"input {index}", True, bit_difference(mine, other))
            for index, (mine, other) in enumerate(zip(inputs, copies, strict=True))
        ]
        return Verification(name, key, rows, tuple(results))

    def _report(self, done: Verification) -> None:
        _recent.append(done)
        if done.wrong and self.raises:
            raise VerifyError(f"epiq.verify: {done}")
        log.log(logging.WARNING if done.wrong or done.failed else logging.INFO, "epiq.verify: %s", done)
