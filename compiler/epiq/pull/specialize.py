"""One kernel without its operand's quantization: the kernel's Triton IR through the pass."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from epiq import codegen, ir
from epiq.codegen import Compiled, Target
from epiq.errors import EpiqError
from epiq.fuse.assume import claim_multiples, fix_numbers, is_multiplied
from epiq.fuse.kernel import Bound, argument_count
from epiq.fuse.specialize import multiples_of, source_line, triton_version, without_locations
from epiq.pull.quantizer import Quantizer

LEVELS = ("kernel", "quantizer", "pulled")
_NOT_PULLED = "not pulled: "
# What the values of strides and sizes may decide: where tiles lie, and how wide they are.
_BY_NUMBERS = ("Q6", "Q7", "Q9")


class PullError(EpiqError):
    """A quantization that cannot be taken out of its kernel; the message starts with the rule that refuses.

    rule: its label, Q1 to Q9 of epiq-pull-quant. location: the op of the kernel, by source line.
    The kernel itself still works.
    """

    def __init__(self, reason: str, location: str = "") -> None:
        super().__init__(f"{reason} (at {location})" if location else reason)
        self.rule = reason.split(":", 1)[0]
        self.location = location


@dataclass(frozen=True)
class PulledKernel:
    """A kernel for one set of argument types, constants and options, without a quantization.

    claims: parameters of the kernel that must be multiples of a number, which it relies on.
    fixed: parameters whose values it relies on. options: Triton's, by its names.
    element: of the quantized operand, as Triton calls the type. arch: of the target of the Triton IR.
    """

    name: str
    kernel_text: str
    quantizer_text: str
    fused_text: str
    quantizer: Quantizer
    element: str
    claims: Mapping[str, int]
    fixed: Mapping[str, int]
    options: Mapping[str, Any]
    arch: int
    _for_target: Callable[[Target], PulledKernel] = field(repr=False, compare=False)
    _compiled: dict[int, Compiled] = field(default_factory=dict, repr=False, compare=False)

    def holds_for(self, bound: Bound) -> bool:
        """Whether the kernel may be used for these arguments."""
        integers = bound.integers
        return all(integers[name] % number == 0 for name, number in self.claims.items()) and all(
            integers[name] == number for name, number in self.fixed.items()
        )

    def ir(self, level: str = "pulled") -> str:
        """The IR: "kernel", Triton IR before; "quantizer", the row program; "pulled", Triton IR after.

        Raises: ValueError for another level.
        """
        texts = dict(zip(LEVELS, (self.kernel_text, self.quantizer_text, self.fused_text), strict=True))
        if level not in texts:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        return without_locations(texts[level])

    def compiled(self, target: Target | str) -> Compiled:
        """The kernel for a target; needs no GPU."""
        target = Target.parse(target) if isinstance(target, str) else target
        if target.arch not in self._compiled:
            self._compiled[target.arch] = self._compile(target)
        return self._compiled[target.arch]

    def _compile(self, target: Target) -> Compiled:
        if target.arch != self.arch:
            # Triton IR depends on the target here and there: the kernel's is made anew.
            return self._for_target(target).compiled(target)
        return codegen.compile_ttir(
            self.ir("pulled"),
            target,
            num_warps=int(self.options.get("num_warps", 4)),
            num_stages=int(self.options.get("num_stages", 3)),
            exact=not self.options.get("enable_fp_fusion", True),
            isolate=True,
        )

    def ptx(self, target: Target | str) -> str:
        """The PTX for a target such as "sm_90a"; needs no GPU."""
        return self.compiled(target).ptx


@dataclass(frozen=True)
class _PulledText:
    """What the pass made; arguments of the kernel by their numbers."""

    kernel: str
    quantizer: str
    arguments: tuple[int, ...]
    groups: tuple[int, ...]
    rows: int
    element: str


def specialize(bound: Bound, operand: str, names: Callable[[int], Sequence[str]]) -> PulledKernel:
    """Takes the quantization of `operand` out of the kernel.

    Args: names: of the quantized operand and of so many scales.
    Raises: PullError with the rule that refuses, and the line of the kernel.
    """
    kernel_text = bound.ttir()
    position = bound.position(operand)
    pulled: _PulledText | PullError | None = None
    claims: Mapping[str, int] = {}
    fixed: Mapping[str, int] = {}
    for claims, fixed in _assumptions(bound, operand, kernel_text):
        multiples = {bound.position(name): number for name, number in claims.items()}
        numbers = {bound.position(name): number for name, number in fixed.items()}
        pulled = _pull(kernel_text, position, multiples, numbers)
        if isinstance(pulled, _PulledText) or pulled.rule not in _BY_NUMBERS:
            break
    assert pulled is not None
    if isinstance(pulled, PullError):
        raise pulled

    @functools.lru_cache(4)
    def for_target(target: Target) -> PulledKernel:
        other = replace(bound, target=replace(bound.target, arch=target.arch))
        return specialize(other, operand, names)

    givens = [_parameter(bound, number) for number in pulled.arguments[1:]]
    quantizer = Quantizer(pulled.quantizer, givens, names(len(pulled.groups)), pulled.groups, pulled.rows)
    return PulledKernel(
        bound.kernel.name,
        kernel_text,
        pulled.quantizer,
        pulled.kernel,
        quantizer,
        pulled.element,
        claims,
        fixed,
        {"num_stages": 3, **bound.options},
        bound.target.arch,
        for_target,
    )


def _assumptions(
    bound: Bound, operand: str, kernel_text: str
) -> Iterator[tuple[Mapping[str, int], Mapping[str, int]]]:
    """Multiples to claim and integers to fix, in the order to try: nothing, what divides the arguments,
    then also the width of rows, then whatever is a factor."""
    yield {}, {}
    claims = multiples_of(bound)
    base = getattr(bound.values[operand], "base", bound.values[operand])
    columns = base.shape[-1] if base.ndim else None
    widths = {name: value for name, value in bound.integers.items() if value == columns}
    factors = {n: v for n, v in bound.integers.items() if is_multiplied(kernel_text, bound.position(n))}
    for fixed in ({}, widths, {**widths, **factors}):
        yield {name: number for name, number in claims.items() if name not in fixed}, fixed


def _pull(
    kernel_text: str, position: int, claims: Mapping[int, int], fixed: Mapping[int, int]
) -> _PulledText | PullError:
    """The texts of both parts, or why there are none."""
    module = ir.parse(kernel_text, filename="<kernel>")
    with module.context:
        claim_multiples(module, claims)
        fix_numbers(module, fixed)
    # Scales are pointers of ours, which tensors of torch align.
    options = f"operand={position} divisibility=16,16,16,16"
    passes = f"builtin.module(epiq-pull-quant{{{options}}},canonicalize,cse)"
    for remark in ir.run_passes(module, passes):
        if remark.message.startswith(_NOT_PULLED):
            return PullError(remark.message.removeprefix(_NOT_PULLED), source_line(remark.location))
    mlir = ir.ir
    function = next(op.operation for op in module.body.operations if op.operation.name == "func.func")
    arguments = tuple(int(n) for n in mlir.DenseI64ArrayAttr(function.attributes["epiq.arguments"]))
    groups = tuple(int(n) for n in mlir.DenseI64ArrayAttr(function.attributes["epiq.groups"]))
    rows = (
        mlir.IntegerAttr(function.attributes["epiq.rows"]).value if "epiq.rows" in function.attributes else 1
    )
    results = mlir.FunctionType(mlir.TypeAttr(function.attributes["function_type"]).value).results
    element = str(mlir.RankedTensorType(results[0]).element_type)
    text = f"module {{\n{function.get_asm(enable_debug_info=False)}\n}}\n"
    function.erase()
    return _PulledText(ir.print_triton(module, triton_version()), text, arguments, groups, rows, element)


def _parameter(bound: Bound, number: int) -> str:
    """The parameter that an argument of the kernel's function is."""
    first = 0
    for name in bound.runtime_names:
        if first == number:
            return re.sub(r"_ptr$", "", name) if str(bound.signature[name]).startswith("*") else name
        first += argument_count(bound.signature[name])
    raise AssertionError(f"argument {number} is no parameter of {bound.kernel.name}")
