"""Runs kernels: binds arguments, cuts the grid into batches, reports.

All programs of a batch run side by side, each value having one row a program. What a program computes
does not depend on its batch: reductions and products have an order of their own (ops/reduce.py,
ops/dot.py), and programs that branch differently part.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import epiq.executor.ops  # noqa: F401  (fills the op table)
from epiq.executor.code import Compiler, Function
from epiq.executor.errors import ExecutionError, Site
from epiq.executor.frame import Frame, Launch
from epiq.executor.memory import Memory
from epiq.executor.types import Shaped
from epiq.executor.values import Descriptor, Value

# Bytes of registers that one batch of programs may fill: the speed is best near the caches' size.
_BATCH_BYTES = 32 << 20
_MAX_ITERATIONS = 1_000_000
_CACHE_SIZE = 64

Grid = tuple[int, ...] | list[int] | int


@dataclass(frozen=True)
class Report:
    """What a launch did.

    programs: how many ran. batches: in how many groups side by side. bytes_loaded, bytes_stored:
    bytes of the active lanes of all loads and stores, atomics counting for both. printed: lines of
    `tt.print`, in order. time_s: wall time without compilation.
    """

    programs: int
    batches: int
    bytes_loaded: int
    bytes_stored: int
    printed: tuple[str, ...]
    time_s: float


class Executor:
    """A kernel compiled for execution on the CPU, to be run many times.

    Args: module: Triton IR as text, or a module parsed by `epiq.ir`. entry: the function to run; by
    default the only public one. filename: how locations name a text that carries none.
    Raises: IRError if the text is no valid IR; UnsupportedError naming an op that cannot run, and its
    line; ValueError if there is no single public function.
    """

    def __init__(self, module: Any, *, entry: str | None = None, filename: str = "<ir>") -> None:
        if isinstance(module, str):
            from epiq import ir

            module = ir.parse(module, filename=filename)
        compiler = Compiler(module, filename)
        names = [entry] if entry else [name for name in compiler.names() if compiler.is_public(name)]
        if len(names) != 1:
            raise ValueError(f"the module has {len(names)} public functions, name one of {compiler.names()}")
        if names[0] not in compiler.names():
            raise ValueError(f"the module has no function @{names[0]}, only {compiler.names()}")
        with _cpu():
            self.function: Function = compiler.function(names[0])

    @property
    def name(self) -> str:
        return self.function.name

    def run(
        self,
        grid: Grid,
        args: Sequence[Any],
        *,
        check: bool = True,
        claims: bool = True,
        programs: Sequence[int | tuple[int, ...]] | None = None,
        memory: Sequence[Tensor] = (),
        batch: int | None = None,
        max_iterations: int = _MAX_ITERATIONS,
    ) -> Report:
        """Runs the kernel over a grid; its stores change the tensors in `args`.

        Args:
          grid: (x, y, z), one to three positive sizes; 0 runs nothing.
          args: one for each argument of the kernel: tensors for pointers (any dtype, strided views
            too: only their own elements may be touched), ints, floats, bools; for a descriptor an
            object with `base`, `shape`, `strides` (and `padding`), like Triton's TensorDescriptor,
            which stands for the shape and stride arguments behind it as well.
          check: also check races, reads of unwritten memory, claimed divisibility, assumptions.
          claims: with `check`, also what `tl.multiple_of` and the like claim of values inside.
          programs: run only these, linear ids (x fastest) or (x, y, z).
          memory: further tensors that pointers loaded from memory may address.
          batch: programs side by side at most; by default as many as fit the caches.
          max_iterations: of one `scf.while`, before it counts as endless.
        Raises: ExecutionError naming location and program; ValueError or TypeError for wrong arguments.
        """
        sizes = _grid(grid)
        with _cpu(), _one_thread, torch.no_grad():
            return self._run(sizes, args, check, check and claims, programs, memory, batch, max_iterations)

    def _run(
        self,
        sizes: tuple[int, int, int],
        args: Sequence[Any],
        check: bool,
        claims: bool,
        programs: Sequence[int | tuple[int, ...]] | None,
        memory: Sequence[Tensor],
        batch: int | None,
        max_iterations: int,
    ) -> Report:
        total = sizes[0] * sizes[1] * sizes[2]
        chosen = _programs(programs, sizes)
        launch = Launch(sizes, Memory(total), check, claims, max_iterations)
        values = self._bind(launch.memory, args)
        for position, tensor in enumerate(memory):
            launch.memory.add(tensor, f"memory {position}")
        if check:
            self._check_claims(values)
        started = time.perf_counter()
        width = batch or self._batch(len(chosen))
        batches = 0
        for start in range(0, len(chosen), width):
            frame = Frame(launch, chosen[start : start + width], [])
            self.function.call(frame, values)
            batches += 1
        return Report(
            len(chosen),
            batches,
            launch.memory.bytes_loaded,
            launch.memory.bytes_stored,
            tuple(launch.printed),
            time.perf_counter() - started,
        )

    def _batch(self, count: int) -> int:
        """Programs side by side: one where they may wait for one another, else what fits the caches."""
        if self.function.spins:
            return 1
        return max(1, min(count, _BATCH_BYTES // max(1, self.function.region.footprint)))

    def _bind(self, memory: Memory, args: Sequence[Any]) -> list[Value]:
        function = self.function
        types = function.argument_types
        flat = _expand(types, args)
        if len(flat) != len(types):
            raise ValueError(f"@{function.name} takes {len(types)} arguments, not {len(flat)}")
        values: list[Value] = []
        for position, (kind, value) in enumerate(zip(types, flat, strict=True)):
            name = f"argument {position}"
            if kind.kind == "descriptor":
                values.append(_descriptor(memory, kind, value, name))
            elif kind.element.is_pointer or kind.kind == "block_pointer":
                if isinstance(value, int) and not isinstance(value, bool):
                    values.append(torch.tensor([value], dtype=torch.int64))
                    continue
                if not isinstance(value, Tensor):
                    where = f"{name} of @{function.name}"
                    raise TypeError(f"{where} is a pointer and takes a tensor, not {value!r}")
                region = memory.add(value, name)
                region.divisibility = function.claims[position]
                values.append(torch.tensor([region.address], dtype=torch.int64))
            else:
                values.append(_scalar(kind, value, f"{name} of @{function.name}"))
        return values

    def _check_claims(self, values: Sequence[Value]) -> None:
        function = self.function
        for position, (kind, claim) in enumerate(zip(function.argument_types, function.claims, strict=True)):
            if claim <= 1 or kind.kind != "scalar" or not kind.element.is_int:
                continue
            found = int(values[position][0])
            if found % claim:
                site = function.argument_sites[position]
                if site.location == "unknown":
                    site = Site(site.op, function.site.location)
                raise ExecutionError(
                    f"A2: tt.divisibility = {claim} is claimed, but the value is {found}", site, (0, 0, 0)
                )


class _OneThread:
    """One torch thread while any kernel runs: tiles are too small for more, and sums keep one order.

    The number of threads belongs to the whole process, so the last run to end restores it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.before = 1

    def __enter__(self) -> None:
        with self.lock:
            if self.running == 0:
                self.before = torch.get_num_threads()
                torch.set_num_threads(1)
            self.running += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.running -= 1
            if self.running == 0:
                torch.set_num_threads(self.before)


_one_thread = _OneThread()


def _cpu() -> AbstractContextManager[Any]:
    """New tensors are made on the CPU, whatever the caller's default device is."""
    if torch.get_default_device().type == "cpu":
        return nullcontext()
    return torch.device("cpu")


def _grid(grid: Grid) -> tuple[int, int, int]:
    sizes = (grid,) if isinstance(grid, int) else tuple(int(size) for size in grid)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"grid {grid!r} is not one to three sizes of 0 or more")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _programs(programs: Sequence[int | tuple[int, ...]] | None, grid: tuple[int, int, int]) -> Tensor:
    x, y, z = grid
    if programs is None:
        return torch.arange(x * y * z)
    chosen = []
    for program in programs:
        a, b, c = (program, 0, 0) if isinstance(program, int) else (*program, 0, 0)[:3]
        linear = a if isinstance(program, int) else a + x * (b + y * c)
        inside = 0 <= linear < x * y * z
        if not inside or (not isinstance(program, int) and not (a < x and b < y and c < z)):
            raise ValueError(f"program {program} is not in the grid {grid}")
        chosen.append(linear)
    return torch.tensor(chosen, dtype=torch.int64)


def _expand(types: Sequence[Shaped], args: Sequence[Any]) -> list[Any]:
    """Adds the shape and stride arguments that follow a descriptor, unless the caller gave them."""
    if len(args) == len(types):
        return list(args)
    flat: list[Any] = []
    for value in args:
        flat.append(value)
        position = len(flat) - 1
        if position < len(types) and types[position].kind == "descriptor":
            flat.extend(int(size) for size in value.shape)
            flat.extend(int(stride) for stride in value.strides)
    return flat


def _scalar(kind: Shaped, value: Any, name: str) -> Tensor:
    element = kind.element
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise TypeError(f"{name} is a scalar {element.name}, not a tensor of {value.numel()} elements")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} is a scalar {element.name}, not {value!r}")
        value = int(value)
    if element.is_float:
        return torch.tensor([float(value)], dtype=torch.float64).to(element.dtype)
    if not isinstance(value, int):
        raise TypeError(f"{name} is an integer {element.name}, not {value!r}")
    if element.bits == 1:
        return torch.tensor([value != 0])
    if not -(1 << (element.bits - 1)) <= value < 1 << element.bits:
        raise ValueError(f"{name} is {value}, which does not fit {element.name}")
    if value >= 1 << (element.bits - 1):
        value -= 1 << element.bits
    return torch.tensor([value], dtype=element.dtype)


def _descriptor(memory: Memory, kind: Shaped, value: Any, name: str) -> Descriptor:
    base = getattr(value, "base", None)
    if not isinstance(base, Tensor) or not hasattr(value, "strides"):
        raise TypeError(
            f"{name} is a descriptor and takes an object with base, shape, strides, not {value!r}"
        )
    block = tuple(getattr(value, "block_shape", kind.shape))
    if block != kind.shape:
        raise ValueError(f"{name}: block shape {block} is not the kernel's {kind.shape}")
    if base.element_size() != kind.element.size:
        raise ValueError(f"{name}: elements of {base.dtype} are not the kernel's {kind.element.name}")
    region = memory.add(base, name)
    return Descriptor(
        kind,
        torch.tensor([region.address], dtype=torch.int64),
        tuple(torch.tensor([int(size)], dtype=torch.int64) for size in value.shape),
        tuple(torch.tensor([int(stride)], dtype=torch.int64) for stride in value.strides),
        str(getattr(value, "padding", "zero")),
    )


_cache: OrderedDict[str, Executor] = OrderedDict()
_lock = threading.Lock()


def run(
    module: Any,
    grid: Grid,
    args: Sequence[Any],
    *,
    check: bool = True,
    claims: bool = True,
    programs: Sequence[int | tuple[int, ...]] | None = None,
    entry: str | None = None,
    memory: Sequence[Tensor] = (),
) -> Report:
    """Runs Triton IR on the CPU: text (compiled once, kept by its hash), a parsed module, or an
    `Executor`. See `Executor` and `Executor.run` for arguments and errors."""
    return _executor(module, entry).run(
        grid, args, check=check, claims=claims, programs=programs, memory=memory
    )


def _executor(module: Any, entry: str | None) -> Executor:
    if isinstance(module, Executor):
        return module
    if not isinstance(module, str):
        return Executor(module, entry=entry)
    key = f"{entry}:{hashlib.sha256(module.encode()).hexdigest()}"
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    executor = Executor(module, entry=entry)
    with _lock:
        _cache[key] = executor
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return executor


__all__ = ["Executor", "Report", "run"]
