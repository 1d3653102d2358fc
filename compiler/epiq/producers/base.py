"""What a kind of producer offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.fx import Node

from epiq.codegen import Compiled, Target
from epiq.producers.tile import TileProgram

# Computes a fused kernel: the producer's inputs, the tile program's further inputs and its outputs, each of
# these a matrix of the program's rows, or a flat tensor that all rows share.
Launch = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]


@dataclass(frozen=True)
class FusedKernel:
    """One kernel that makes the result and computes the tile program on it.

    name: as decisions call it, the same in any process.
    """

    name: str
    launch: Launch


@dataclass(frozen=True)
class Reading:
    """An FX node as a producer.

    inputs: the nodes of its tensors, in the order of `Producer.library`. within: nodes between those and
    `node` that the producer computes too and nothing else reads.
    """

    node: Node
    producer: Producer
    inputs: tuple[Node, ...]
    within: tuple[Node, ...] = ()


class Producer(Protocol):
    """One or two calls of an op, without their tensors. Its `repr` says all that it computes."""

    @property
    def name(self) -> str:
        """What reports call it: `mm`."""

    @property
    def num_results(self) -> int:
        """2 for two results of one shape that are made side by side, else 1."""

    @property
    def has_bias(self) -> bool:
        """Whether one value a column is added before the result is rounded; it is then the last input."""

    def library(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results, by the torch op itself. Also of fake tensors."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """The shapes of the results."""

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Raises: ProducerError, P1, where the kernels do not take such tensors, meta ones."""

    def kernels(self, tile: TileProgram, inputs: Sequence[Tensor], device_type: str) -> list[FusedKernel]:
        """The kernels for a tile program, those first that should be the fastest for such inputs.

        inputs: on the meta device. Raises: ProducerError, P6, where there is none.
        """

    def compile_ahead(
        self, tile: TileProgram, inputs: Sequence[Tensor], target: Target
    ) -> list[tuple[str, Compiled]]:
        """The kernels that a GPU would try first, one of a kind, compiled without one; each with its name.

        inputs: on the meta device.
        """
