"""A kernel without its operand's quantization: launched like the kernel, with the scales as keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.fuse.checks import grid_sizes, guess_dtype
from epiq.fuse.kernel import Bound, Choice, UserKernel, stand_in
from epiq.fuse.launch import Extra, launch
from epiq.fuse.replay import fingerprint
from epiq.pull.quantizer import Quantizer
from epiq.pull.scales import check_scale
from epiq.pull.specialize import PulledKernel, PullError, specialize

# Where the kernel runs on the CPU, its IR is that of this target.
_CPU_TARGET = Target(90)
_ELEMENTS = {"f8E4M3FN": torch.float8_e4m3fn, "f8E5M2": torch.float8_e5m2, "i8": torch.int8}
_TRITON_NAMES = {"f8E4M3FN": "fp8e4nv", "f8E5M2": "fp8e5", "i8": "i8"}
_SUFFIX = re.compile(r"_(ptr|desc)$")


@dataclass(frozen=True)
class _Call:
    """A launch taken apart. args, kwargs: the kernel's, a stand-in of the dtype before quantization in the
    operand's place. given: what came there. scales: by their names."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: Any
    scales: dict[str, Tensor]
    device: torch.device


class Pulled:
    """A kernel whose operand comes quantized: `pulled[grid](q, k, v, out, .., q_scale=q_scale)`; made by
    `epiq.pull_quant`.

    `grid` and the arguments are the kernel's; strides of the operand now are those of the quantized one.
    A scale of `group` columns has the operand's shape with columns // group in the place of columns, or,
    if that is 1, without them, and lies as the operand does: its strides are the operand's divided by
    `group`. Where rows share a scale, one number stands for them in the place of rows and columns. On CPU
    tensors the kernel runs in epiq's executor, slowly; on CUDA tensors it is compiled by Triton.
    """

    def __init__(
        self,
        kernel: Any,
        operand: str,
        operand_dtype: torch.dtype | None = None,
        scales: Sequence[str] | None = None,
    ) -> None:
        self.kernel: UserKernel = UserKernel(kernel)
        if not isinstance(operand, str):
            raise TypeError(f"operand must be the name of an argument, got {type(operand).__name__}")
        if operand not in self.kernel.names:
            names = ", ".join(self.kernel.names)
            raise ValueError(f"operand {operand!r} is not an argument of {self.kernel.name}({names})")
        if isinstance(scales, str):
            raise TypeError(f"scales must be a sequence of names, got {scales!r}")
        self.operand: str = operand
        self.operand_dtype: torch.dtype | None = operand_dtype
        self.scales: tuple[str, ...] | None = None if scales is None else tuple(scales)
        for name in self.scales or ():
            if name in self.kernel.names:
                raise ValueError(f"{name!r} is an argument of {self.kernel.name} and a name for scales")
        self._made: dict[Any, list[PulledKernel]] = {}
        self._replays: dict[Any, tuple[PulledKernel, Bound]] = {}
        self._chosen: dict[Any, Choice] = {}
        self._last: PulledKernel | None = None

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def run(*args: Any, **kwargs: Any) -> None:
            self._run(grid, args, kwargs)

        return run

    def __repr__(self) -> str:
        return f"Pulled({self.kernel.name}, operand={self.operand!r})"

    def specialize(self, *args: Any, **kwargs: Any) -> PulledKernel:
        """The kernel for these arguments, given as at a launch; nothing is launched, scales may be missing.

        Tensors may be on any device, the meta device too, and the operand may be the unquantized one.
        Raises: as a launch does.
        """
        call = self._take_apart(args, kwargs)
        return self._first(call)[0]

    @property
    def quantizer(self) -> Quantizer:
        """The quantization that was taken out, of the kernel that was last specialized or launched.

        Raises: ValueError before the first one.
        """
        return self._specialized().quantizer

    def ir(self, level: str = "pulled") -> str:
        """IR of the kernel that was last specialized or launched; see `PulledKernel.ir`.

        Raises: ValueError before the first one.
        """
        return self._specialized().ir(level)

    def ptx(self, target: Target | str) -> str:
        """PTX of the kernel that was last specialized or launched.

        Raises: ValueError before the first one, or for an unknown target.
        """
        return self._specialized().ptx(target)

    def _specialized(self) -> PulledKernel:
        if self._last is None:
            raise ValueError(
                f"{self.kernel.name} is not specialized yet: call specialize(*args) with arguments"
            )
        return self._last

    def _run(self, grid: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        call = self._take_apart(args, kwargs)
        key = fingerprint((*args, call.given), kwargs)
        known = self._replays.get(key) if key is not None else None
        if known is None:
            made, bound = self._choose(grid, call)
            self._check_launch(call, made)
            if key is not None and not self.kernel.has_hooks:
                self._replays[key] = made, bound
        else:
            made = self._last = known[0]
            values = dict(zip(self.kernel.names, call.args, strict=False))
            values.update((n, v) for n, v in call.kwargs.items() if n in known[1].values)
            bound = replace(known[1], values={**known[1].values, **values})
        self._launch(grid, call, made, bound)

    def _launch(self, grid: Any, call: _Call, made: PulledKernel, bound: Bound) -> None:
        """Launches with the quantized operand in its place."""
        kind = re.sub(r"<\w+", f"<{_TRITON_NAMES[made.element]}", str(bound.signature[self.operand]))
        bound = replace(
            bound,
            values={**bound.values, self.operand: call.given},
            signature={**bound.signature, self.operand: kind},
        )
        scales = [Extra(call.scales[name], None) for name in self._scale_names(made)]
        launch(made, bound, grid_sizes(grid, bound), scales, call.device)

    def _choose(self, grid: Any, call: _Call) -> tuple[PulledKernel, Bound]:
        """On a GPU, the fastest of the configs for these arguments, timed once."""
        if call.device.type != "cuda":
            return self._first(call)
        key = self.kernel.tuning_key(call.args, call.kwargs)
        if key in self._chosen:
            return self._specialize(call, self._chosen[key])
        choices = self._possible(call)
        if len(choices) > 1:
            from triton.testing import do_bench

            def time_us(choice: Choice) -> float:
                made, bound = self._specialize(call, choice)
                self._check_launch(call, made)
                return float(do_bench(lambda: self._launch(grid, call, made, bound)))

            choices = [min(choices, key=time_us)]
        self._chosen[key] = choices[0]
        return self._specialize(call, choices[0])

    def _first(self, call: _Call) -> tuple[PulledKernel, Bound]:
        return self._specialize(call, self._possible(call, most=1)[0])

    def _possible(self, call: _Call, most: int | None = None) -> list[Choice]:
        """The configs whose quantization can be taken out.

        Raises: PullError, that of the first config, if there is none.
        """
        found: list[Choice] = []
        refused: PullError | None = None
        for choice in self.kernel.choices(call.args, call.kwargs):
            try:
                self._specialize(call, choice)
            except PullError as error:
                refused = refused or error
                continue
            found.append(choice)
            if len(found) == most:
                break
        if not found:
            assert refused is not None
            raise refused
        return found

    def _specialize(self, call: _Call, choice: Choice) -> tuple[PulledKernel, Bound]:
        from triton.backends.compiler import GPUTarget

        target = _CPU_TARGET
        if call.device.type == "cuda":
            target = Target.current() or _CPU_TARGET
        kwargs = self.kernel.with_choice(call.args, call.kwargs, choice)
        bound = self.kernel.bind(call.args, kwargs, GPUTarget("cuda", target.arch, 32))
        known = self._made.setdefault(bound.key, [])
        for made in known:
            if made.holds_for(bound):
                self._last = made
                return made, bound
        made = self._make(bound)
        known.append(made)
        self._last = made
        return made, bound

    def _make(self, bound: Bound) -> PulledKernel:
        from triton.compiler.errors import CompilationError

        try:
            return specialize(bound, self.operand, self._names)
        except CompilationError as error:
            base = getattr(bound.values[self.operand], "base", bound.values[self.operand])
            raise ValueError(
                f"{self.kernel.name} does not compile with {self.operand} of {base.dtype}, which it is taken "
                "to be before it is quantized: operand_dtype says what it is"
            ) from error

    def _names(self, count: int) -> tuple[str, ...]:
        """Of the quantized operand and of `count` scales."""
        stem = _SUFFIX.sub("", self.operand)
        if self.scales is None:
            many = [f"{stem}_scale{i}" for i in range(count)]
            return (stem, *([f"{stem}_scale"] if count == 1 else many))
        if len(self.scales) != count:
            raise ValueError(
                f"scales names {self.scales}, but {self.kernel.name} has {count} of {self.operand}"
            )
        return (stem, *self.scales)

    def _scale_names(self, made: PulledKernel) -> tuple[str, ...]:
        return (made.quantizer.outputs or ())[1:]

    def _take_apart(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call:
        names = self.kernel.names
        position = names.index(self.operand)
        values, named = list(args), dict(kwargs)
        stem = _SUFFIX.sub("", self.operand)
        given = values[position] if position < len(values) else named.get(self.operand)
        if given is None and stem not in names:
            given = named.pop(stem, None)
        base = getattr(given, "base", given)
        if not isinstance(base, Tensor):
            raise TypeError(
                f"{self.operand} must be a tensor or a descriptor of one, got {type(given).__name__}"
            )
        # What the kernel does not know is a scale, or a mistake that binding will name.
        wanted = set(self.scales or (n for n in named if re.fullmatch(re.escape(stem) + r"_scale\d*", n)))
        scales = {n: named.pop(n) for n in list(named) if n in wanted and n not in names}
        placeholder = self._unquantized(given, base, [*values, *named.values()])
        if position < len(values):
            values[position] = placeholder
        else:
            named[self.operand] = placeholder
        return _Call(tuple(values), named, given, scales, base.device)

    def _unquantized(self, given: Any, base: Tensor, others: Sequence[Any]) -> Any:
        """Something of the dtype before quantization in the operand's place, to get the kernel's IR with."""
        dtype = self.operand_dtype
        if dtype is None and base.dtype not in _ELEMENTS.values():
            dtype = base.dtype
        if dtype is None:
            rest = [value for value in others if value is not given]
            dtype = guess_dtype(rest, self.operand, "operand_dtype")
        if not hasattr(given, "base"):
            return stand_in(dtype).new_empty(base.shape).as_strided(base.shape, base.stride())
        return type(given)(
            torch.empty_strided(base.shape, base.stride(), dtype=dtype, device="meta"),
            list(given.shape),
            list(given.strides),
            list(given.block_shape),
        )

    def _check_launch(self, call: _Call, made: PulledKernel) -> None:
        """The operand and its scales must be what the kernel reads."""
        base = getattr(call.given, "base", call.given)
        wanted = _ELEMENTS[made.element]
        if base.dtype != wanted:
            raise TypeError(
                f"{self.operand} must be {wanted}, got {base.dtype}: the quantizer of this kernel makes it"
            )
        names = self._scale_names(made)
        if set(names) != set(call.scales):
            given = ", ".join(call.scales) or "none"
            raise TypeError(f"{self.kernel.name} needs scales {', '.join(names) or 'none'}, got {given}")
        for name, group in zip(names, made.quantizer.groups, strict=True):
            check_scale(name, call.scales[name], self.operand, base, group)
