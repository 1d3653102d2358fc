"""One fused kernel: a kernel's Triton IR and an epilogue's description through the pass."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from epiq import codegen, ir
from epiq.codegen import Compiled, Target
from epiq.fuse.errors import FusionError
from epiq.fuse.kernel import Bound

LEVELS = ("kernel", "epilogue", "fused")
_NOT_FUSED = "not fused: "
# How the pass says that a kernel's output has no rows, only elements.
_FLAT = ", flat"
# Powers of two that an argument may be claimed to be a multiple of, for the sake of E5.
_MOST_CLAIMED = 1024
_SUMS = ("arith.addf", "arith.subf")
_PLACE = re.compile(r'"([^"]+)":(\d+):\d+')


@dataclass(frozen=True)
class Specialization:
    """A fused kernel for one set of argument types, constants and options.

    claims: parameters of the kernel that must be multiples of a number, which the fusion relies on.
    options: Triton's, by its names. flat: the kernel's output has no rows for the kernel, so that tensors
    of the epilogue must be contiguous. arch: of the target that the Triton IR is for.
    """

    name: str
    kernel_text: str
    epilogue_text: str
    fused_text: str
    claims: Mapping[str, int]
    options: Mapping[str, Any]
    flat: bool
    arch: int
    _for_target: Callable[[Target], Specialization] = field(repr=False, compare=False)
    _compiled: dict[int, Compiled] = field(default_factory=dict, repr=False, compare=False)

    def ir(self, level: str = "fused") -> str:
        """The IR: "kernel", Triton IR before; "epilogue", the row program; "fused", Triton IR after.

        Raises: ValueError for another level.
        """
        texts = dict(zip(LEVELS, (self.kernel_text, self.epilogue_text, self.fused_text), strict=True))
        if level not in texts:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        return _without_locations(texts[level])

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
    output: str,
    epilogue_text: str,
    *,
    keep_output: bool,
    columns: int,
    divisibility: Sequence[int],
) -> Specialization:
    """Fuses the epilogue into the kernel at its stores to `output`, which has `columns` columns.

    Args: divisibility: what divides each new argument, in the order of the pass.
    Raises: FusionError with the rule that refuses, and the line of the kernel.
    """
    kernel_text = bound.ttir()
    position = bound.position(output)

    def attempt(claims: Mapping[str, int]) -> tuple[str, bool] | FusionError:
        numbered = {bound.position(name): number for name, number in claims.items()}
        return _fuse(kernel_text, epilogue_text, position, keep_output, divisibility, numbered)

    # Triton only says of an argument that it is a multiple of 16. That the number of columns is one of
    # the group spares masks in reductions.
    claims = {name: number for name, number in _claims(bound).items() if bound.values[name] == columns}
    fused = attempt(claims)
    if isinstance(fused, FusionError) and fused.rule == "E5":
        # Other strides and sizes may say that tiles start between groups.
        claims = _claims(bound)
        again = attempt(claims)
        fused = fused if isinstance(again, FusionError) else again
    if isinstance(fused, FusionError):
        raise fused
    text, flat = fused
    options = {"num_stages": 3, **bound.options}

    @functools.lru_cache(4)
    def for_target(target: Target) -> Specialization:
        return specialize(
            replace(bound, target=replace(bound.target, arch=target.arch)),
            output,
            epilogue_text,
            keep_output=keep_output,
            columns=columns,
            divisibility=divisibility,
        )

    return Specialization(
        bound.kernel.name,
        kernel_text,
        epilogue_text,
        text,
        claims,
        options,
        flat,
        bound.target.arch,
        for_target,
    )


def _fuse(
    kernel_text: str,
    epilogue_text: str,
    position: int,
    keep_output: bool,
    divisibility: Sequence[int],
    claims: Mapping[int, int],
) -> tuple[str, bool] | FusionError:
    """The fused kernel's text and whether it is flat; or why there is none."""
    context = ir.context()
    module = ir.parse(kernel_text, filename="<kernel>", ctx=context)
    description = ir.parse(epilogue_text, filename="<epilogue>", ctx=context)
    with context:
        _claim(module, claims)
        module.body.append(description.body.operations[0].operation.clone())
    options = f"output={position} keep-output={'true' if keep_output else 'false'}"
    if divisibility:
        options += f" divisibility={','.join(map(str, divisibility))}"
    flat = False
    passes = f"epiq-fuse-epilogue{{{options}}},epiq-cheapen-division{{only-epilogues=true}}"
    for remark in ir.run_passes(module, f"builtin.module({passes})"):
        flat |= remark.message.endswith(_FLAT)
        if remark.message.startswith(_NOT_FUSED):
            return FusionError(remark.message.removeprefix(_NOT_FUSED), _source_line(remark.location))
    return ir.print_triton(module, _triton_version()), flat


def _claims(bound: Bound) -> dict[str, int]:
    """The powers of two that divide the integer arguments."""
    claims = {}
    for name in bound.runtime_names:
        value = bound.values[name]
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            claims[name] = min(value & -value, _MOST_CLAIMED)
    return {name: number for name, number in claims.items() if number > 16}


def _claim(module: Any, claims: Mapping[int, int]) -> None:
    """Sets tt.divisibility of arguments of the kernel."""
    if not claims:
        return
    kernel = next(op.operation for op in module.body.operations if op.operation.name == "tt.func")
    mlir = ir.ir
    i32 = mlir.IntegerType.get_signless(32)
    count = len(kernel.regions[0].blocks[0].arguments)
    held = kernel.attributes.get("arg_attrs", None)
    attributes = []
    for i in range(count):
        entry = {named.name: named.attr for named in held[i]} if held is not None else {}
        if i in claims:
            entry["tt.divisibility"] = mlir.IntegerAttr.get(i32, claims[i])
        attributes.append(mlir.DictAttr.get(entry))
    kernel.attributes["arg_attrs"] = mlir.ArrayAttr.get(attributes)


def _source_line(location: str) -> str:
    places = _PLACE.findall(location)
    return f"{places[0][0]}:{places[0][1]}" if places else ""


def _without_locations(text: str) -> str:
    module = ir.parse(text)
    return str(module.operation.get_asm(enable_debug_info=False))


@functools.lru_cache(1)
def _triton_version() -> str:
    import triton

    major, minor = (int(part) for part in triton.__version__.split(".")[:2])
    return "3.6" if (major, minor) < (3, 9) else "3.9"
