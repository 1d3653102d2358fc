"""Functions and regions as lists of steps, compiled once from a module.

Each SSA value of a function has a slot in the frame. A region with one block runs its steps in
order. A function body with several blocks runs as a worklist: programs that branch differently go
on in separate batches, each to its return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from epiq.errors import EpiqError, UnsupportedError
from epiq.executor.errors import Site
from epiq.executor.frame import Frame, agreed, rows_where
from epiq.executor.registry import Op, Step, build
from epiq.executor.types import Shaped, parse_type
from epiq.executor.values import Value, merge, select

_BRANCHES = ("cf.br", "cf.cond_br")
_ATOMICS = ("tt.atomic_rmw", "tt.atomic_cas", "tt.atomic_load")


class InternalError(EpiqError):
    """The executor itself failed at an op: a defect here, not in the kernel."""


@dataclass
class Block:
    """A basic block. terminator: its last op; yields: that op's operands."""

    arguments: tuple[int, ...]
    argument_types: tuple[Shaped, ...]
    steps: list[Step] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    terminator: Op | None = None

    @property
    def yields(self) -> tuple[int, ...]:
        assert self.terminator is not None
        return self.terminator.operands

    def run(self, frame: Frame) -> None:
        step_number = 0
        try:
            for step_number, step in enumerate(self.steps):  # noqa: B007
                step(frame)
        except (EpiqError, KeyboardInterrupt):
            raise
        except Exception as error:
            site = self.sites[step_number]
            message = str(error) or type(error).__name__
            raise InternalError(f"{site.location}: {site.op}: the executor failed: {message}") from error


@dataclass
class RegionCode:
    """A region: its blocks, and the slots that it reads from outside.

    footprint: bytes of all values that one program computes in it, for choosing batches.
    """

    blocks: list[Block]
    live_in: tuple[int, ...] = ()
    footprint: int = 0

    @property
    def body(self) -> Block:
        """The only block. Raises: UnsupportedError if control flow branches inside."""
        if len(self.blocks) != 1:
            site = self.blocks[0].sites[0] if self.blocks[0].sites else Site("region", "unknown")
            where = f"{site.location}: {site.op}"
            raise UnsupportedError(f"{where}: the region has {len(self.blocks)} blocks, not 1")
        return self.blocks[0]

    def call(self, frame: Frame, arguments: Sequence[Value]) -> list[Value]:
        """Runs the region in `frame` and returns the values that its terminator passes on."""
        if len(self.blocks) == 1:
            block = self.blocks[0]
            for slot, value in zip(block.arguments, arguments, strict=True):
                frame.slots[slot] = value
            block.run(frame)
            return [frame.slots[slot] for slot in block.yields]
        return _call_graph(self.blocks, frame, arguments)


def _call_graph(blocks: list[Block], frame: Frame, arguments: Sequence[Value]) -> list[Value]:
    """Runs a control flow graph; batches of programs split at branches where they disagree."""
    size = frame.size
    pending: list[tuple[int, Frame, Tensor, list[Value]]]
    pending = [(0, frame, torch.arange(size), list(arguments))]
    done: list[tuple[Tensor, list[Value]]] = []
    jumps = 0
    while pending:
        number, current, rows, values = pending.pop()
        block = blocks[number]
        for slot, value in zip(block.arguments, values, strict=True):
            current.slots[slot] = value
        block.run(current)
        end = block.terminator
        assert end is not None
        jumps += 1
        if jumps > frame.launch.max_iterations:
            raise current.error(f"no end after {frame.launch.max_iterations} branches", end.site)
        if end.name not in _BRANCHES:
            done.append((rows, [current.slots[slot] for slot in end.operands]))
        elif end.name == "cf.br":
            pending.append((end.successors[0], current, rows, [current.slots[s] for s in end.operands]))
        else:
            pending.extend(_branch(end, current, rows))
    columns = len(done[0][1])
    return [merge([(rows, values[i]) for rows, values in done], size) for i in range(columns)]


def _branch(end: Op, frame: Frame, rows: Tensor) -> list[tuple[int, Frame, Tensor, list[Value]]]:
    """Where the programs of a batch go after `cf.cond_br`; at most two batches."""
    segments = end.segments(3)
    condition = frame.slots[segments[0][0]]
    targets = [(end.successors[0], segments[1]), (end.successors[1], segments[2])]
    if agreed(condition):
        number, slots = targets[0 if bool(condition[0]) else 1]
        return [(number, frame, rows, [frame.slots[s] for s in slots])]
    result = []
    for (number, slots), flags in zip(reversed(targets), (~condition, condition), strict=True):
        part = rows_where(flags)
        values = [select(frame.slots[s], part) for s in slots]
        result.append((number, frame.select(part), rows[part], values))
    return result


@dataclass
class Function:
    """A `tt.func`. claims: `tt.divisibility` by argument. argument_types: of its entry block."""

    name: str
    site: Site
    public: bool
    argument_types: tuple[Shaped, ...]
    argument_sites: tuple[Site, ...]
    claims: tuple[int, ...]
    region: RegionCode
    num_slots: int
    spins: bool

    def call(self, frame: Frame, arguments: Sequence[Value]) -> list[Value]:
        """Runs the function for the programs of `frame`, in a frame of its own."""
        inner = Frame(frame.launch, frame.programs, [None] * self.num_slots)
        return self.region.call(inner, arguments)


class Compiler:
    """Compiles the functions of a module. module: an `epiq._mlir.ir.Module`. filename: see `Site.of`."""

    def __init__(self, module: Any, filename: str = "<ir>") -> None:
        self.filename = filename
        self._operations = {}
        for op in module.body.operations:
            operation = op.operation
            if operation.name in ("tt.func", "func.func"):
                self._operations[_text(operation, "sym_name").strip('"')] = operation
        self._functions: dict[str, Function] = {}
        self._compiling: list[str] = []

    def names(self) -> list[str]:
        """Names of the functions that have a body."""
        return [name for name, op in self._operations.items() if len(op.regions[0].blocks)]

    def is_public(self, name: str) -> bool:
        return '"private"' not in _text(self._operations[name], "sym_visibility")

    def function(self, name: str) -> Function:
        """The compiled function. Raises: UnsupportedError naming the first op that cannot run."""
        if name not in self._functions:
            if name not in self._operations:
                raise UnsupportedError(f"the module has no function @{name}")
            if name in self._compiling:
                raise UnsupportedError(f"@{name} calls itself")
            self._compiling.append(name)
            self._functions[name] = _FunctionCompiler(self, self._operations[name]).compile(name)
            self._compiling.pop()
        return self._functions[name]


class _FunctionCompiler:
    def __init__(self, compiler: Compiler, operation: Any) -> None:
        self.compiler = compiler
        self.operation = operation
        self.slots: dict[Any, int] = {}
        self.spins = False

    def compile(self, name: str) -> Function:
        region = self.operation.regions[0]
        if not len(region.blocks):
            raise UnsupportedError(f"@{name} is only declared")
        code, _ = self.region(region, inside_loop=False)
        entry = region.blocks[0]
        count = len(entry.arguments)
        claims = [1] * count
        if "arg_attrs" in self.operation.attributes:
            for position, entry_attributes in enumerate(self.operation.attributes["arg_attrs"]):
                if "tt.divisibility" in entry_attributes:
                    claims[position] = int(entry_attributes["tt.divisibility"].value)
        sites = tuple(self.site(f"argument {i}", entry.arguments[i]) for i in range(count))
        return Function(
            name,
            self.site("tt.func", self.operation),
            self.compiler.is_public(name),
            code.blocks[0].argument_types,
            sites,
            tuple(claims),
            code,
            len(self.slots),
            self.spins,
        )

    def site(self, name: str, located: Any) -> Site:
        return Site.of(name, str(getattr(located, "location", "")), self.compiler.filename)

    def slot(self, value: Any) -> int:
        return self.slots.setdefault(value, len(self.slots))

    def region(self, region: Any, *, inside_loop: bool) -> tuple[RegionCode, set[int]]:
        """Compiles a region. Returns its code and the slots it uses that are defined outside."""
        blocks = list(region.blocks)
        numbers = {block: number for number, block in enumerate(blocks)}
        loops = inside_loop or len(blocks) > 1
        codes, used, defined, footprint = [], set(), set(), 0
        for block in blocks:
            code, block_used, block_defined, block_bytes = self.block(block, numbers, loops)
            codes.append(code)
            used |= block_used
            defined |= block_defined
            footprint += block_bytes
        live_in = used - defined
        return RegionCode(codes, tuple(sorted(live_in)), footprint), live_in

    def block(
        self, block: Any, numbers: dict[Any, int], inside_loop: bool
    ) -> tuple[Block, set[int], set[int], int]:
        arguments = tuple(self.slot(argument) for argument in block.arguments)
        types = tuple(_type(argument, "a block argument") for argument in block.arguments)
        code = Block(arguments, types)
        used: set[int] = set()
        defined = set(arguments)
        footprint = 0
        operations = [op.operation for op in block.operations]
        for position, operation in enumerate(operations):
            op, nested, nested_bytes = self.op(operation, numbers, inside_loop)
            used.update(op.operands)
            used |= nested
            defined.update(op.results)
            footprint += nested_bytes + sum(t.count * max(8, t.element.size) for t in op.result_types)
            if position == len(operations) - 1 and _is_terminator(op):
                code.terminator = op
                break
            code.steps.append(_with_claims(op, build(op)))
            code.sites.append(op.site)
        if code.terminator is None:
            raise UnsupportedError(f"{self.operation.location}: a block ends without a terminator")
        return code, used, defined, footprint

    def op(self, operation: Any, numbers: dict[Any, int], inside_loop: bool) -> tuple[Op, set[int], int]:
        name = operation.name
        site = self.site(name, operation)
        if name == "tt.atomic_poll" or (inside_loop and _orders(operation)):
            self.spins = True
        nested: set[int] = set()
        regions, footprint = [], 0
        for region in operation.regions:
            loop = inside_loop or name == "scf.while"
            code, live_in = self.region(region, inside_loop=loop)
            regions.append(code)
            nested |= live_in
            footprint += code.footprint
        op = Op(
            name,
            site,
            tuple(self.slot(value) for value in operation.operands),
            tuple(_type(value, f"{site.location}: {name}") for value in operation.operands),
            tuple(self.slot(value) for value in operation.results),
            tuple(_type(value, f"{site.location}: {name}") for value in operation.results),
            _attributes(operation),
            tuple(regions),
            tuple(numbers[block] for block in operation.successors),
            self.callee,
        )
        return op, nested, footprint

    def callee(self, name: str) -> Function:
        function = self.compiler.function(name)
        self.spins |= function.spins
        return function


def _is_terminator(op: Op) -> bool:
    if op.name in _BRANCHES or op.successors:
        if op.name not in _BRANCHES:
            raise op.unsupported("the executor cannot run this op")
        return True
    return op.name.endswith((".yield", ".return")) or op.name in ("scf.condition", "ub.unreachable")


def _with_claims(op: Op, step: Step) -> Step:
    """Adds the check of what `tl.multiple_of` and the like claim of the op's result."""
    from epiq.executor.claims import claims_of

    check: Callable[[Frame], None] | None = claims_of(op)
    if check is None:
        return step
    checked = check

    def both(frame: Frame) -> None:
        step(frame)
        if frame.launch.claims:
            checked(frame)

    return both


def _type(value: Any, where: str) -> Shaped:
    try:
        return parse_type(str(value.type))
    except UnsupportedError as error:
        raise UnsupportedError(f"{where}: {error}") from None


def _attributes(operation: Any) -> dict[str, str]:
    found = operation.attributes
    result = {}
    for position in range(len(found)):
        named = found[position]
        result[named.name] = str(named.attr)
    return result


def _orders(operation: Any) -> bool:
    """Whether the op may see what another program wrote, so that a loop around it may spin."""
    if operation.name == "tt.load":
        return _text(operation, "isVolatile") == "true"
    return operation.name in _ATOMICS


def _text(operation: Any, name: str) -> str:
    return str(operation.attributes[name]) if name in operation.attributes else ""
