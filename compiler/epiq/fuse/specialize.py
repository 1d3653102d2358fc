"""One fused kernel: a kernel's Triton IR and an epilogue's description through the pass."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from epiq import codegen, ir
from epiq.codegen import Compiled, Target
from epiq.fuse.assume import claim_multiples, fix_numbers, is_multiplied, mark_numbers
from epiq.fuse.errors import FusionError
from epiq.fuse.kernel import Bound

LEVELS = ("kernel", "epilogue", "fused")
_NOT_FUSED = "not fused: "
# How the pass says that a kernel's output has no rows, only elements.
_FLAT = ", flat"
# Powers of two that an argument may be claimed to be a multiple of: groups for E5, rows for E7.
_MOST_CLAIMED = {"E5": 1024, "E7": 1 << 20}
# What the values of strides may decide: where tiles lie, and what they hold.
_BY_NUMBERS = ("E3", "E4", "E5", "E6", "E7", "E10")
_SUMS = ("arith.addf", "arith.subf")
# How far apart it says that rows lie: a number, or one times an argument.
_ROWS_APART = re.compile(r", rows (-?\d+)(?: \* argument (\d+))? apart")
_PLACE = re.compile(r'"([^"]+)":(\d+):\d+')


@dataclass(frozen=True)
class Specialization:
    """A fused kernel for one set of argument types, constants and options.

    claims: parameters of the kernel that must be multiples of a number, which the fusion relies on.
    fixed: parameters whose values it relies on.
    options: Triton's, by its names. flat: the kernel's output has no rows for the kernel, so that tensors
    of the epilogue must be contiguous. rows_apart: elements between rows of the output for the kernel, each
    a number and perhaps a parameter that multiplies it. arch: of the target that the Triton IR is for.
    """

    name: str
    kernel_text: str
    epilogue_text: str
    fused_text: str
    claims: Mapping[str, int]
    fixed: Mapping[str, int]
    options: Mapping[str, Any]
    flat: bool
    rows_apart: frozenset[tuple[int, str | None]]
    arch: int
    _for_target: Callable[[Target], Specialization] = field(repr=False, compare=False)
    _compiled: dict[int, Compiled] = field(default_factory=dict, repr=False, compare=False)

    def holds_for(self, bound: Bound) -> bool:
        """Whether the fusion may be relied on for these arguments."""
        integers = bound.integers
        return all(integers[name] % number == 0 for name, number in self.claims.items()) and all(
            integers[name] == number for name, number in self.fixed.items()
        )

    def strides(self, bound: Bound) -> set[int]:
        """Elements between rows of the output, as the kernel has it."""
        integers = bound.integers
        return {number * (1 if name is None else integers[name]) for number, name in self.rows_apart}

    def ir(self, level: str = "fused") -> str:
        """The IR: "kernel", Triton IR before; "epilogue", the row program; "fused", Triton IR after.

        Raises: ValueError for another level.
        """
        texts = dict(zip(LEVELS, (self.kernel_text, self.epilogue_text, self.fused_text), strict=True))
        if level not in texts:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        return without_locations(texts[level])

    @property
    def contracts(self) -> bool:
        """Whether a product and a sum may become one rounding, which the kernel allows unless told not to.

        Not where the epilogue adds: what a sum becomes must not depend on what is fused with it.
        """
        wanted = bool(self.options.get("enable_fp_fusion", True))
        return wanted and not any(op in self.epilogue_text for op in _SUMS)

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
            self.ir("fused"),
            target,
            num_warps=int(self.options.get("num_warps", 4)),
            num_stages=int(self.options.get("num_stages", 3)),
            exact=not self.contracts,
            isolate=True,
        )

    def ptx(self, target: Target | str) -> str:
        """The PTX for a target such as "sm_90a"; needs no GPU."""
        return self.compiled(target).ptx


def specialize(
    bound: Bound,
    outputs: Sequence[str],
    epilogue_text: str,
    *,
    keep_output: bool,
    columns: int,
    divisibility: Sequence[int],
) -> Specialization:
    """Fuses the epilogue into the kernel at its stores to `outputs`, which have `columns` columns.

    Args: divisibility: what divides each new argument, in the order of the pass.
    Raises: FusionError with the rule that refuses, and the line of the kernel.
    """
    kernel_text = bound.ttir()
    options = {
        "output": ",".join(str(bound.position(name)) for name in outputs),
        "keep-output": "true" if keep_output else "false",
        "columns": str(columns),
        "divisibility": ",".join(map(str, divisibility)),
        "target": str(bound.target.arch),
    }

    def attempt(claims: Mapping[str, int], fixed: Mapping[str, int]) -> _FusedText | FusionError:
        multiples = {bound.position(name): number for name, number in claims.items()}
        numbers = {bound.position(name): number for name, number in fixed.items()}
        return _fuse(kernel_text, epilogue_text, options, multiples, numbers)

    # Triton only says of an argument that it is a multiple of 16. That the number of columns is one of
    # the group spares masks in reductions.
    claims = {name: number for name, number in multiples_of(bound).items() if bound.integers[name] == columns}
    fixed: dict[str, int] = {}
    fused = attempt(claims, fixed)
    if isinstance(fused, FusionError) and fused.rule in _MOST_CLAIMED:
        # Other strides and sizes may say that tiles start between groups, and masks end between rows.
        claims = multiples_of(bound, _MOST_CLAIMED[fused.rule])
        again = attempt(claims, fixed)
        fused = fused if isinstance(again, FusionError) else again
    if isinstance(fused, FusionError) and fused.rule in _BY_NUMBERS:
        # Strides that the kernel leaves open may be in a ratio that it does not state.
        fixed = {n: v for n, v in bound.integers.items() if _is_stride(n, bound, kernel_text)}
        if fused.rule == "E4":
            # A number of columns may be where one store ends and another one begins.
            fixed |= {n: v for n, v in bound.integers.items() if 0 < v < columns}
        if fused.rule == "E7":
            # The number of all elements may be one of whole rows.
            fixed |= {n: v for n, v in bound.integers.items() if v % columns == 0}
        again = attempt(claims, fixed)
        fused = fused if isinstance(again, FusionError) else again
    if isinstance(fused, FusionError):
        raise fused
    names: dict[int | None, str | None] = {bound.position(name): name for name in bound.integers}
    names[None] = None
    launch_options = {"num_stages": 3, **bound.options}

    @functools.lru_cache(4)
    def for_target(target: Target) -> Specialization:
        return specialize(
            replace(bound, target=replace(bound.target, arch=target.arch)),
            outputs,
            epilogue_text,
            keep_output=keep_output,
            columns=columns,
            divisibility=divisibility,
        )

    return Specialization(
        bound.kernel.name,
        kernel_text,
        epilogue_text,
        fused.text,
        claims,
        fixed,
        launch_options,
        fused.flat,
        frozenset(
            (n, None if i is None else names[i]) for n, i in fused.rows_apart if i is None or i in names
        ),
        bound.target.arch,
        for_target,
    )


@dataclass(frozen=True)
class _FusedText:
    """A fused kernel's Triton IR, and what the pass says of its output; arguments by their numbers."""

    text: str
    flat: bool
    rows_apart: frozenset[tuple[int, int | None]]


def _fuse(
    kernel_text: str,
    epilogue_text: str,
    options: Mapping[str, str],
    claims: Mapping[int, int],
    fixed: Mapping[int, int],
) -> _FusedText | FusionError:
    """The fused kernel's text, or why there is none. options: those of the pass."""
    context = ir.context()
    module = ir.parse(kernel_text, filename="<kernel>", ctx=context)
    description = ir.parse(epilogue_text, filename="<epilogue>", ctx=context)
    with context:
        claim_multiples(module, claims)
        fix_numbers(module, fixed)
        mark_numbers(module, fixed)
        module.body.append(description.body.operations[0].operation.clone())
    flat = False
    apart = set()
    given = " ".join(f"{name}={value}" for name, value in options.items() if value)
    passes = f"epiq-fuse-epilogue{{{given}}},epiq-cheapen-division{{only-epilogues=true}}"
    for remark in ir.run_passes(module, f"builtin.module({passes})"):
        flat |= remark.message.endswith(_FLAT)
        for number, argument in _ROWS_APART.findall(remark.message):
            apart.add((int(number), int(argument) if argument else None))
        if remark.message.startswith(_NOT_FUSED):
            return FusionError(remark.message.removeprefix(_NOT_FUSED), source_line(remark.location))
    return _FusedText(ir.print_triton(module, triton_version()), flat, frozenset(apart))


def multiples_of(bound: Bound, most: int = _MOST_CLAIMED["E5"]) -> dict[str, int]:
    """The powers of two that divide the integer arguments."""
    claims = {name: min(value & -value, most) for name, value in bound.integers.items() if value > 0}
    return {name: number for name, number in claims.items() if number > 16}


def _is_stride(name: str, bound: Bound, kernel_text: str) -> bool:
    return ".strides[" in name or is_multiplied(kernel_text, bound.position(name))


def source_line(location: str) -> str:
    places: list[tuple[str, str]] = _PLACE.findall(location)
    # Functions of Triton's own library are called from a line that says more.
    own = [place for place in places if "/triton/language/" not in place[0]]
    return ":".join((own or places)[0]) if places else ""


def without_locations(text: str) -> str:
    module = ir.parse(text)
    return str(module.operation.get_asm(enable_debug_info=False))


@functools.lru_cache(1)
def triton_version() -> str:
    import triton

    major, minor = (int(part) for part in triton.__version__.split(".")[:2])
    return "3.6" if (major, minor) < (3, 9) else "3.9"
