"""The op table: how each op becomes a closure, and the view of an op that its handler gets.

A handler runs once, when a function is compiled: it reads the op's attributes and types and returns
a step, a closure that reads and writes the registers of a frame. `elementwise` makes a handler from
a plain function on tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from epiq.errors import UnsupportedError
from epiq.executor import attributes
from epiq.executor.errors import Site
from epiq.executor.frame import Frame
from epiq.executor.types import Element, Shaped

if TYPE_CHECKING:
    from epiq.executor.code import Function, RegionCode

Step = Callable[[Frame], None]


@dataclass(frozen=True)
class Op:
    """One op: slots and types of its operands and results, its attributes as text, its regions.

    successors: block numbers of a branch. callee: looks up a function of the module by name.
    """

    name: str
    site: Site
    operands: tuple[int, ...]
    operand_types: tuple[Shaped, ...]
    results: tuple[int, ...]
    result_types: tuple[Shaped, ...]
    attributes: Mapping[str, str]
    regions: tuple[RegionCode, ...] = ()
    successors: tuple[int, ...] = ()
    callee: Callable[[str], Function] = field(default=lambda name: _no_callee(name), repr=False)

    @property
    def element(self) -> Element:
        """Element type of the first result, or of the first operand of an op without results."""
        return (self.result_types or self.operand_types)[0].element

    @property
    def source(self) -> Element:
        """Element type of the first operand."""
        return self.operand_types[0].element

    def integer(self, name: str, default: int | None = None) -> int:
        if name not in self.attributes and default is not None:
            return default
        return attributes.read_int(self._attribute(name))

    def flag(self, name: str) -> bool:
        text = self.attributes.get(name)
        return text is not None and text.split(" ")[0] not in ("false", "0")

    def ints(self, name: str) -> tuple[int, ...]:
        text = self.attributes.get(name)
        return () if text is None else attributes.read_ints(text)

    def string(self, name: str) -> str:
        return attributes.read_string(self._attribute(name))

    def enum(self, name: str, names: dict[int, str], default: str | None = None) -> str:
        if name not in self.attributes and default is not None:
            return default
        return attributes.read_enum(self._attribute(name), names)

    def segments(self, count: int) -> list[tuple[int, ...]]:
        """Operand slots by group, for an op with `count` optional or variadic groups."""
        sizes = self.ints("operandSegmentSizes") or self.ints("operand_segment_sizes")
        if not sizes:
            # Without sizes only trailing groups of one operand can be absent.
            sizes = tuple(int(i < len(self.operands)) for i in range(count))
        groups, start = [], 0
        for size in sizes:
            groups.append(self.operands[start : start + size])
            start += size
        return groups

    def unsupported(self, what: str) -> UnsupportedError:
        """The error of an op that cannot run: `file:line:col: tt.dot: ...`."""
        return UnsupportedError(f"{self.site.location}: {self.name}: {what}")

    def _attribute(self, name: str) -> str:
        if name not in self.attributes:
            raise self.unsupported(f"attribute {name} is missing")
        return self.attributes[name]


Handler = Callable[[Op], Step]
HANDLERS: dict[str, Handler] = {}


def _no_callee(name: str) -> Function:
    raise KeyError(name)


def handler(*names: str) -> Callable[[Handler], Handler]:
    """Registers the handler of one or more ops. One op has one handler."""

    def register(build: Handler) -> Handler:
        for name in names:
            assert name not in HANDLERS, f"two handlers for {name}"
            HANDLERS[name] = build
        return build

    return register


def elementwise(*names: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a function on tensors as the handler of ops with any operands and one result."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        handler(*names)(lambda op: apply(op, function))
        return function

    return register


def typed(*names: str) -> Callable[[Callable[[Op], Callable[..., Tensor]]], Handler]:
    """Registers a function that picks, from the op's types, the function on tensors to apply."""

    def register(choose: Callable[[Op], Callable[..., Tensor]]) -> Handler:
        return handler(*names)(lambda op: apply(op, choose(op)))

    return register


def apply(op: Op, function: Callable[..., Tensor]) -> Step:
    """The step that sets the op's result to `function` of its operands."""
    result = op.results[0]
    if len(op.operands) == 1:
        (x,) = op.operands

        def unary(frame: Frame) -> None:
            slots = frame.slots
            slots[result] = function(slots[x])

        return unary
    if len(op.operands) == 2:
        a, b = op.operands

        def binary(frame: Frame) -> None:
            slots = frame.slots
            slots[result] = function(slots[a], slots[b])

        return binary
    operands = op.operands

    def step(frame: Frame) -> None:
        slots = frame.slots
        slots[result] = function(*[slots[i] for i in operands])

    return step


def build(op: Op) -> Step:
    """Compiles one op. Raises: UnsupportedError naming the op and its line if no handler takes it."""
    found = HANDLERS.get(op.name)
    if found is None:
        raise op.unsupported("the executor cannot run this op")
    return found(op)
