"""Runs Gluon kernels as Python: their source with a `gl` of torch operations, a thread for each partition.

What the executor is for Triton IR, as far as our kernels need it: barriers block and count as mbarriers do,
TMA fills the edges with zeros and completes the bytes that a barrier expects, so a wrong phase or count is a
deadlock here too, which ends in a TimeoutError. Shared memory begins as NaN. Layouts are nothing, products
are exact, and programs run one after the other.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import math
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from epiq.kernels import gluon_attention, gluon_attention_tiles, gluon_matmul

_TIMEOUT_S = 20.0
_LAYOUT_OF = re.compile(r"\b\w+\.type\.layout")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Pointer:
    """Elements of a tensor's memory."""

    def __init__(self, memory: Tensor, offset: Any = 0) -> None:
        self.memory, self.offset = memory, offset

    def __add__(self, other: Any) -> Pointer:
        return Pointer(self.memory, self.offset + other)


def pointer(tensor: Tensor) -> Pointer:
    return Pointer(
        torch.as_strided(tensor, (tensor.untyped_storage().size() // tensor.element_size(),), (1,), 0)
    )


class Barrier:
    """An mbarrier."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.count = self.pending = self.bytes = self.phase = 0

    def update(self, arrivals: int = 0, expected: int = 0) -> None:
        with self.changed:
            self.pending -= arrivals
            self.bytes += expected
            assert self.pending >= 0, "more arrivals than the barrier counts"
            if self.pending == 0 and self.bytes == 0:
                self.phase ^= 1
                self.pending = self.count
                self.changed.notify_all()

    def wait(self, phase: int) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: self.phase != int(phase), _TIMEOUT_S):
                raise TimeoutError("a partition waits for ever")


class Barriers(list):
    def index(self, i: Any) -> Barrier:  # type: ignore[override]
        return self[int(i)]


class Buffer:
    """Shared memory."""

    def __init__(self, memory: Tensor) -> None:
        self.memory, self.shape = memory, tuple(memory.shape)
        self.dtype = SimpleNamespace(primitive_bitwidth=8 * memory.element_size())

    def index(self, i: Any) -> Buffer:
        return Buffer(self.memory[int(i)])

    def permute(self, order: tuple[int, ...]) -> Buffer:
        return Buffer(self.memory.permute(order))

    def slice(self, start: int, length: int, dim: int) -> Buffer:
        return Buffer(self.memory.narrow(dim, start, length))

    def load(self, layout: Any) -> Tensor:
        return self.memory.clone()

    def store(self, value: Tensor) -> None:
        self.memory.copy_(value)

    def _reinterpret(self, dtype: Any, shape: list[int], layout: Any) -> Buffer:
        return Buffer(self.memory.view(shape))


class Descriptor:
    def __init__(self, given: Any) -> None:
        self.base, block = given.base, tuple(given.block_shape)
        size = given.base.element_size()
        self.block_type = SimpleNamespace(shape=block, nbytes=math.prod(block) * size)
        self.dtype, self.layout = given.base.dtype, None

    def tile(self, place: list[Any]) -> Tensor:
        """The block at `place`, zeros where the tensor has ended."""
        block = self.block_type.shape
        starts = [int(i) for i in place]
        part = self.base[tuple(slice(i, i + n) for i, n in zip(starts, block, strict=True))]
        result = torch.zeros(block, dtype=self.dtype)
        result[tuple(slice(0, n) for n in part.shape)] = part
        return result


def copy_to_shared(desc: Descriptor, place: list[Any], barrier: Barrier, target: Buffer) -> None:
    tile = desc.tile(place)
    target.memory.copy_(tile)
    barrier.update(expected=-tile.numel() * tile.element_size())


def multiply(a: Any, b: Buffer, acc: Tensor, use_acc: Any = True, is_async: bool = False) -> Tensor:
    left = a.memory if isinstance(a, Buffer) else a
    product = (left.double() @ b.memory.double()).float()
    return acc + product if bool(use_acc) else product


def load(source: Pointer, mask: Any = None, other: Any = 0) -> Tensor:
    offset = torch.as_tensor(source.offset)
    if mask is None:
        return source.memory[offset]
    mask, offset = torch.broadcast_tensors(mask, offset)
    values = source.memory[torch.where(mask, offset, 0)]
    return torch.where(mask, values, torch.full_like(values, other))


def store(target: Pointer, value: Any, mask: Any = True) -> None:
    value = torch.as_tensor(value, dtype=target.memory.dtype)
    value, offset, mask = torch.broadcast_tensors(
        value, torch.as_tensor(target.offset), torch.as_tensor(mask)
    )
    # torch has no masked stores of fp8.
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[value.element_size()]
    target.memory.view(bits)[offset[mask]] = value.contiguous().view(bits)[mask]


def assembly(text: str, constraints: str, args: list[Tensor], **_: Any) -> Tensor:
    """A multiply-add, or what only keeps its one argument in its place."""
    if not text.startswith("fma.rn"):
        return args[0]
    return (args[0].double() * args[1] + args[2]).float()


def atomic_add(target: Pointer, value: int, sem: str) -> Tensor:
    before = target.memory[target.offset].clone()
    target.memory[target.offset] += value
    return before


def allocate(dtype: torch.dtype, shape: list[int], layout: Any) -> Any:
    if layout == "barrier":
        return Barriers(Barrier() for _ in range(shape[0]))
    memory = torch.zeros(shape, dtype=dtype)
    return Buffer(memory.fill_(float("nan")) if dtype.is_floating_point else memory)


def where(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, Tensor) and condition.dim():
        return torch.where(condition, a, b)
    return a if bool(condition) else b


def extreme(function: Any) -> Any:
    def take(a: Any, b: Any, propagate_nan: Any = None) -> Any:
        if not isinstance(a, Tensor) and not isinstance(b, Tensor):
            return max(a, b) if function is torch.maximum else min(a, b)
        kind = a.dtype if isinstance(a, Tensor) else b.dtype
        return function(torch.as_tensor(a, dtype=kind), torch.as_tensor(b, dtype=kind))

    return take


def reduce(x: Tensor, axis: int, combine: Any) -> Tensor:
    result, *rest = x.unbind(axis)
    for part in rest:
        result = combine(result, part)
    return result


def language(program: int, programs: int) -> SimpleNamespace:
    return SimpleNamespace(
        constexpr=lambda value: value,
        program_id=lambda axis: torch.tensor(program),
        num_programs=lambda axis: programs,
        static_range=range,
        cdiv=lambda a, b: -(-a // b),
        minimum=extreme(torch.minimum),
        maximum=extreme(torch.maximum),
        where=where,
        zeros=lambda shape, dtype, layout: torch.zeros(shape, dtype=dtype),
        zeros_like=torch.zeros_like,
        full=lambda shape, value, dtype, layout: torch.full(shape, int(value), dtype=dtype),
        arange=lambda start, end, layout: torch.arange(start, end),
        expand_dims=torch.unsqueeze,
        broadcast=lambda a, b: torch.broadcast_tensors(a, b),
        reshape=torch.reshape,
        permute=torch.permute,
        split=lambda x: x.unbind(-1),
        convert_layout=lambda x, layout, assert_trivial=False: x,
        reduce=reduce,
        max=lambda x, axis: x.amax(axis),
        sum=lambda x, axis: x.sum(axis),
        load=load,
        store=store,
        atomic_add=atomic_add,
        abs=torch.abs,
        exp=torch.exp,
        exp2=torch.exp2,
        div_rn=lambda a, b: a / b,
        # Exact in f64, which holds a product of f32; the sum is rounded once more.
        fma=lambda a, b, c: (torch.as_tensor(a).double() * b + c).float(),
        inline_asm_elementwise=assembly,
        allocate_shared_memory=allocate,
        warp_specialize=warp_specialize,
        SliceLayout=lambda *_: None,
        BlockedLayout=lambda *_: None,
        SwizzledSharedLayout=lambda *_: None,
        DotOperandLayout=lambda *_: None,
        NVMMADistributedLayout=lambda *_: None,
        float32=torch.float32,
        bfloat16=torch.bfloat16,
        float16=torch.float16,
        float8e4nv=torch.float8_e4m3fn,
        int32=torch.int32,
        int64=torch.int64,
    )


def warp_specialize(partitions: list[Any], warps: list[int], registers: list[int]) -> None:
    failed: list[BaseException] = []

    def work(function: Any, arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=partition) for partition in partitions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def initialize(barrier: Barrier, count: int) -> None:
    barrier.count = barrier.pending = count


def space(program: int, programs: int) -> dict[str, Any]:
    """What the source of a Gluon function sees."""
    return {
        "gl": language(program, programs),
        "gluon": SimpleNamespace(jit=lambda function: function),
        "ALL": None,
        "mbarrier": SimpleNamespace(
            MBarrierLayout=lambda: "barrier",
            init=initialize,
            wait=lambda barrier, phase: barrier.wait(phase),
            expect=lambda barrier, count: barrier.update(arrivals=1, expected=count),
            arrive=lambda barrier, count: barrier.update(arrivals=count),
        ),
        "tma": SimpleNamespace(async_copy_global_to_shared=copy_to_shared),
        "fence_async_shared": lambda: None,
        "warpgroup_mma": multiply,
        "warpgroup_mma_wait": lambda pending, values: values[0],
    }


def source(module: Any) -> str:
    """A module without its imports."""
    tree = ast.parse(inspect.getsource(module))
    tree.body = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return ast.unparse(tree)


def launches(
    modules: tuple[Any, ...], constants: dict[str, Any], programs: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """For each program what the kernel's modules define, and the constants."""
    texts = [_LAYOUT_OF.sub("None", source(module)) for module in modules]
    epilogue = "".join(linecache.getlines(constants["EPILOGUE"].fn.__code__.co_filename))
    options = {key: value for key, value in constants.items() if key.isupper()}
    options["OUT"] = _TYPES[str(constants["OUT"])]
    for program in range(programs):
        here = space(program, programs)
        for text in (_LAYOUT_OF.sub("None", epilogue), *texts):
            exec(text, here)
        yield here, {**options, "EPILOGUE": here["epilogue"]}


def argument(value: Any) -> Any:
    """An argument of a launch as a kernel's partitions see it."""
    if isinstance(value, tuple):
        return tuple(argument(each) for each in value)
    if isinstance(value, Tensor):
        return pointer(value)
    if hasattr(value, "block_shape"):
        return Descriptor(value)
    return torch.tensor(value) if isinstance(value, int) else value


def run_on_cpu(arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """A launch as gluon_product.call describes it."""
    for here, options in launches((gluon_matmul,), constants, constants["PROGRAMS"]):
        here["matmul"](*map(argument, arguments), **options)


def run_attention_on_cpu(programs: int, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """A launch as gluon_attention_call.call describes it."""
    modules = (gluon_attention_tiles, gluon_attention)
    for here, options in launches(modules, constants, programs):
        here["attention"](*map(argument, arguments), **options)
