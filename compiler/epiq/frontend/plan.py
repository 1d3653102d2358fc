"""Decides, before the FX graph is touched, what becomes of each row program of a grouped module.

A program is refused, and its nodes stay with Inductor, when
  E1  an input has no FX node that holds it
  E2  the shape or the strides of an output cannot be told from the inputs, or are not what the
      kernel writes
  E3  a node that writes memory stands between the nodes that the program replaces
  E4  its tensors lie on several devices, or on one that kernels do not run on
  E5  no kernel can be made of it
  E6  memory of which it reads or stores rows by index is not dense, or is not told apart from a part of it
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from epiq.formats.layouts import LAYOUTS
from epiq.frontend.cse import escapes, is_view, writes_memory
from epiq.frontend.importer import Imported
from epiq.frontend.parts import part_of
from epiq.frontend.sites import Site, ValueName
from epiq.frontend.types import ELEMENT_TYPES, static_shape
from epiq.pipeline.program import RowProgram, TensorSpec
from epiq.runtime.inputs import ALIGNMENT
from epiq.runtime.kernel import Kernel
from epiq.runtime.op import row_program
from epiq.runtime.registry import register
from epiq.runtime.shapes import Dim, OutputSpec, Tiles, known_size, leading_rank
from epiq.runtime.verify import VerifiedKernel

if TYPE_CHECKING:
    from epiq.runtime.produced import ProducedGroup

_DTYPES = {name: dtype for dtype, name in ELEMENT_TYPES.items() if dtype != torch.uint8}


# Makes a kernel ready to run on a device for a number of rows, or raises.
Prepare = Callable[[Kernel, torch.device, int], None]


class RefusedError(Exception):
    """A program stays with Inductor; the message starts with the rule."""


@dataclass
class Source:
    """An input of a program: an FX node, or result `index` of another program's call.

    to_device: a 0-d tensor of the CPU that must be copied to the program's device first.
    """

    fake: Tensor
    node: Node | None = None
    plan: Plan | None = None
    index: int = 0
    to_device: torch.device | None = None


@dataclass(frozen=True)
class Base:
    """The tensor that rows are stored in, all of it, or its part of this number in the first dimension."""

    node: Node
    part: int | None = None


@dataclass
class Plan:
    """One accepted program. redirected: result index -> the FX nodes whose users will read it.

    kernel: what the call in the graph runs. op: the torch op of that call. absorbed: nodes outside of the
    program that the call computes as well. bases: result index -> the tensor in which the result is stored,
    for results that are stored by index. updated: the nodes of these tensors after it.
    """

    site: Site
    program: RowProgram
    kernel: Kernel | ProducedGroup | VerifiedKernel
    sources: list[Source]
    fakes: list[Tensor]
    redirected: dict[int, list[Node]]
    num_rows: int
    anchor: Node
    bases: dict[int, Base] = field(default_factory=dict)
    results: list[Node] = field(default_factory=list)
    op: Any = row_program
    absorbed: list[Node] = field(default_factory=list)
    updated: dict[int, Node] = field(default_factory=dict)

    def own(self) -> list[int]:
        """The results that are new tensors."""
        return [index for index in range(len(self.fakes)) if index not in self.bases]


class Planner:
    """Plans the programs of one graph in order, so that one program's results can feed the next."""

    def __init__(self, imported: Imported, order: Iterable[Node]) -> None:
        self.imported = imported
        self.positions = {node: index for index, node in enumerate(order)}
        self.writers = [node for node in self.positions if writes_memory(node)]
        self.copies: dict[Node, list[Node]] = {}
        for copy, first in imported.duplicates.items():
            self.copies.setdefault(first, []).append(copy)
        self.accepted: dict[str, Plan] = {}

    def plan(self, site: Site, program: RowProgram, prepare: Prepare) -> Plan:
        """Raises: RefusedError."""
        sources = [self._source(name) for name in site.inputs]
        device = _common_device(sources)
        members = [self.imported.nodes[name] for name in site.members if name in self.imported.nodes]
        if not members:
            raise RefusedError("E1: the program replaces no node")
        self._check_writers(members, sources)
        bases = _find_bases(program, sources)
        named = list(zip(site.outputs, program.outputs, strict=True))
        specs = [
            _output_spec(self._fake_of(name), spec, traced_rows(program, sources), sources)
            for name, spec in named
            if spec.buffer < 0
        ]
        kernel = register(Kernel(program, specs))
        own = iter(_fake_outputs(kernel, sources))
        fakes = [
            next(own) if spec.buffer < 0 else self._stored_fake(name, sources[spec.buffer])
            for name, spec in named
        ]
        for name, fake in zip(site.outputs, fakes, strict=True):
            _check_strides(name, self._fake_of(name), fake)
        rows = row_hint(program, sources)
        try:
            prepare(kernel, device, rows)
        except Exception as error:
            raise RefusedError(f"E5: {error}") from error
        plan = Plan(
            site=site,
            program=program,
            kernel=kernel,
            sources=sources,
            fakes=fakes,
            redirected=self._redirected(site),
            num_rows=rows,
            anchor=min(members, key=self.positions.__getitem__),
            bases=bases,
        )
        self.accepted[site.symbol] = plan
        return plan

    def _source(self, name: ValueName) -> Source:
        if name.program in self.accepted:
            plan = self.accepted[name.program]
            return Source(plan.fakes[name.result], plan=plan, index=name.result)
        node = self.imported.nodes.get(name.node)
        if name.is_aux or node is None:
            raise RefusedError(f"E1: an input is a step inside node {name.node}, which no node holds")
        result = 0 if name.program else name.result
        held = node.meta.get("val")
        if isinstance(held, list | tuple):
            node = _item(node, held, result)
        fake = node.meta.get("val")
        if not isinstance(fake, Tensor):
            raise RefusedError(f"E1: node {name.node} holds no tensor")
        return Source(fake, node=node)

    def _fake_of(self, name: ValueName) -> Tensor | None:
        """The tensor of the node that an output stands for, None for a step inside a node."""
        node = self.imported.nodes.get(name.node)
        fake = node.meta.get("val") if node is not None and not name.is_aux else None
        return fake if isinstance(fake, Tensor) else None

    def _stored_fake(self, name: ValueName, source: Source) -> Tensor:
        fake = self._fake_of(name)
        return source.fake if fake is None else fake

    def _check_writers(self, members: list[Node], sources: list[Source]) -> None:
        inputs = [source.node for source in sources if source.node is not None]
        first = min(self.positions[node] for node in members)
        last = max(self.positions[node] for node in (*members, *inputs) if node in self.positions)
        for node in self.writers:
            if first < self.positions[node] < last:
                raise RefusedError(f"E3: {node.name} writes memory between the nodes that are replaced")

    def _redirected(self, site: Site) -> dict[int, list[Node]]:
        found: dict[int, list[Node]] = {}
        outputs = {name.node for name in site.outputs if not name.is_aux}
        for index, name in enumerate(site.outputs):
            node = self.imported.nodes.get(name.node)
            if node is None or name.is_aux:
                continue
            every = [node, *self.copies.get(node, [])]
            found[index] = [each for each in every if not _stays_a_view(each, site, outputs)]
        return found


def _stays_a_view(node: Node, site: Site, outputs: set[str]) -> bool:
    """Whether callers could see that `node` shares memory with another tensor that they hold.

    Such a node stays a view: of an input of the program, or of another of its outputs.
    """
    if not is_view(node) or not escapes(node):
        return False
    held = outputs | {name.node for name in site.inputs}
    base = node
    while is_view(base) and isinstance(base.args[0], Node):
        base = base.args[0]
        if base.name in held:
            return True
    return False


def _find_bases(program: RowProgram, sources: list[Source]) -> dict[int, Base]:
    """The whole tensor behind each result that is stored by index."""
    for spec, source in zip(program.inputs, sources, strict=True):
        if spec.indexed and not source.fake.is_contiguous():
            raise RefusedError(
                f"E6: memory of shape {_listed(source.fake.shape)} has strides "
                f"{_listed(source.fake.stride())}"
            )
    bases: dict[int, Base] = {}
    for index, spec in enumerate(program.outputs):
        node = sources[spec.buffer].node if spec.buffer >= 0 else None
        if spec.buffer < 0:
            continue
        if node is None:
            raise RefusedError("E6: the memory that rows are stored in is made by another program")
        bases[index] = base_of(node)
    whole = {base.node for base in bases.values() if base.part is None}
    parts = [base.node for base in bases.values() if base.part is not None]
    if len(set(bases.values())) < len(bases) or whole.intersection(parts):
        raise RefusedError("E6: two results are stored in one tensor")
    for number, source in enumerate(sources):
        if number not in program.buffers and source.node is not None and _root(source.node) in parts:
            raise RefusedError(
                f"E6: {source.node.name} is read, and lies in a tensor that rows are stored in"
            )
    return bases


def base_of(node: Node) -> Base:
    """The tensor that `node` shows all of, in another shape, or one part of."""
    node = unviewed(node)
    part = part_of(node)
    if part is None:
        if is_view(node) or _is_part(node):
            raise RefusedError(f"E6: {node.name} is a part of the tensor that rows are stored in")
        return Base(node)
    part = part.before()
    fake: Tensor = part.whole.meta["val"]
    sizes = static_shape(fake.shape)
    if part.dim != 0 or is_view(part.whole) or _is_part(part.whole) or None in sizes:
        raise RefusedError(f"E6: {node.name} is a part of a part of the tensor that rows are stored in")
    part_bytes = fake.nbytes // fake.shape[0]
    if not fake.is_contiguous() or part_bytes % ALIGNMENT:
        raise RefusedError(f"E6: the parts of {part.whole.name}, of {part_bytes} bytes, are not aligned")
    return Base(part.whole, part.index)


def unviewed(node: Node) -> Node:
    """The first of the nodes above that shows the same elements in another shape."""
    while is_view(node) and isinstance(node.args[0], Node):
        base = node.args[0]
        shown, whole = node.meta["val"], base.meta["val"]
        if not isinstance(whole, Tensor) or not shown.is_contiguous():
            break
        if not same_size(shown.numel(), whole.numel()):
            break
        node = base
    return node


def _is_part(node: Node) -> bool:
    """Whether it is one of the tensors that a view results in."""
    above = node.args[0] if node.target is operator.getitem else None
    return isinstance(above, Node) and is_view(above)


def _root(node: Node) -> Node:
    """The node whose memory `node` shows."""
    while (is_view(node) or _is_part(node)) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _item(node: Node, held: Sequence[Any], result: int) -> Node:
    """The getitem node of tensor number `result` of a node with several results."""
    positions = [index for index, fake in enumerate(held) if isinstance(fake, Tensor)]
    for user in node.users:
        if user.target is operator.getitem and user.args[1] == positions[result]:
            return user
    raise RefusedError(f"E1: result {result} of node {node.name} is read by no node")


def _common_device(sources: list[Source]) -> torch.device:
    devices = {source.fake.device for source in sources if not _is_cpu_scalar(source.fake)}
    if not devices:
        devices = {source.fake.device for source in sources}
    if len(devices) != 1:
        listed = ", ".join(sorted(map(str, devices))) or "no device"
        raise RefusedError(f"E4: its inputs lie on {listed}")
    device = devices.pop()
    for source in sources:
        if source.fake.device == device:
            continue
        source.to_device = device
        with fake_mode(source.fake):
            source.fake = source.fake.to(device)
    return device


def _is_cpu_scalar(fake: Tensor) -> bool:
    return fake.dim() == 0 and fake.device.type == "cpu"


def _output_spec(fake: Tensor | None, spec: TensorSpec, rows: Any, sources: list[Source]) -> OutputSpec:
    if fake is None:
        if None in spec.shape[1:]:
            raise RefusedError(f"E2: an output of shape {spec.shape} has no node that tells its shape")
        unnamed: tuple[Dim, ...] = tuple("M" if size is None else size for size in spec.shape)
        return OutputSpec(_DTYPES[spec.dtype], unnamed, spec.row_width, spec.layout, spec.zeroed)
    dims = tuple(_dim(size, sources, rows, _tiles(fake, spec)) for size in fake.shape)
    return OutputSpec(fake.dtype, dims, spec.row_width, spec.layout, spec.zeroed)


def _tiles(fake: Tensor, spec: TensorSpec) -> Tiles | None:
    """The one open dimension of a tensor whose rows are padded, whatever shape it has."""
    if spec.layout not in LAYOUTS or LAYOUTS[spec.layout].tile is None:
        return None
    known = math.prod(size for size in map(known_size, fake.shape) if size is not None)
    size, rest = divmod(spec.row_multiple * spec.row_width, known)
    return Tiles(spec.row_multiple, size) if rest == 0 else None


def same_size(a: Any, b: Any) -> bool:
    """Whether two sizes are equal, as far as their terms show, or because they agree wherever one looks:
    a size that is rounded up can be written in many ways."""
    if statically_known_true(a == b):
        return True
    if isinstance(a, int) or isinstance(b, int):
        return False
    left, right = a.node.expr, b.node.expr
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    for trial in (*range(2, 18), *range(124, 134), 255, 256, 257, 511, 513, 4095, 8193, 65537):
        values = {symbol: trial + 3 * index for index, symbol in enumerate(symbols)}
        if left.xreplace(values) != right.xreplace(values):
            return False
    return True


def _dim(size: Any, sources: list[Source], rows: Any, tiles: Tiles | None = None) -> Dim:
    number = known_size(size)
    if number is not None:
        return number
    for index, source in enumerate(sources):
        sizes: Sequence[Any] = source.fake.shape
        for dim, other in enumerate(sizes):
            if known_size(other) is None and size.node.expr == other.node.expr:
                return index, dim
    if not isinstance(rows, int) and statically_known_true(size == rows):
        return "M"
    if tiles is not None and same_size(size, (rows + tiles.rows - 1) // tiles.rows * tiles.size):
        return tiles
    raise RefusedError(f"E2: the output size {size} is not a size of an input")


def _fake_outputs(kernel: Kernel, sources: list[Source]) -> list[Tensor]:
    fakes = [source.fake for source in sources]
    with fake_mode(*fakes):
        return kernel.fake(fakes)


def fake_mode(*fakes: Tensor) -> Any:
    mode = torch._guards.detect_fake_mode(list(fakes))
    if mode is None:
        raise RefusedError("E1: the graph was not traced with fake tensors")
    return mode


def _check_strides(name: ValueName, wanted: Tensor | None, given: Tensor) -> None:
    if wanted is None:
        return
    for which in ("shape", "stride"):
        a = wanted.shape if which == "shape" else wanted.stride()
        b = given.shape if which == "shape" else given.stride()
        for size, left, right in zip(wanted.shape, a, b, strict=True):
            if which == "stride" and isinstance(size, int) and size <= 1:
                continue
            if not same_size(left, right):
                raise RefusedError(
                    f"E2: {name.node} has {which} {_listed(a)}, the kernel would write {_listed(b)}"
                )


def _listed(sizes: Sequence[Any]) -> str:
    return f"({', '.join(map(str, sizes))})"


def traced_rows(program: RowProgram, sources: list[Source]) -> Any:
    """The number of rows, a SymInt where it is dynamic. Raises: RefusedError when inputs disagree."""
    found: Any = None
    for spec, source in zip(program.inputs, sources, strict=True):
        if not spec.row_like:
            continue
        shape = source.fake.shape
        try:
            leading = leading_rank(shape, spec.row_width)
        except ValueError as error:
            raise RefusedError(f"E2: {error}") from error
        rows: Any = math.prod(shape[:leading])
        if found is not None and not _agree(found, rows):
            raise RefusedError(f"E2: its inputs hold {found} and {rows} rows")
        found = rows
    if found is None:
        found = program.num_rows
    if found is None:
        raise RefusedError("E2: it has no input of rows")
    return found


def _agree(a: Any, b: Any) -> bool:
    """Whether two numbers of rows are equal, by a guard where only the traced inputs tell: rows and the index
    that says where they go may have sizes of their own."""
    if statically_known_true(a == b):
        return True
    hinted = [size if isinstance(size, int) else size.node.hint for size in (a, b)]
    return hinted[0] == hinted[1] and bool(a == b)


def row_hint(program: RowProgram, sources: list[Source]) -> int:
    """The number of rows of the example inputs; 1 where tracing knows none."""
    rows = traced_rows(program, sources)
    if isinstance(rows, int):
        return rows
    return int(rows.node.hint) if rows.node.has_hint() else 1
