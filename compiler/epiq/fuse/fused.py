"""A kernel with an epilogue: launched like the kernel, with the epilogue's tensors as keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.fuse.call import Call, CallReader
from epiq.fuse.checks import check_chain, check_epilogue, check_outputs, grid_sizes
from epiq.fuse.epilogue import Chain, Epilogue
from epiq.fuse.errors import FusionError
from epiq.fuse.kernel import Bound, Choice, UserKernel
from epiq.fuse.launch import Extra, launch
from epiq.fuse.matrix import divisor
from epiq.fuse.replay import Replay, fingerprint
from epiq.fuse.specialize import Specialization, specialize

# Where the kernel runs on the CPU, its IR is that of this target.
_CPU_TARGET = Target(90)


class Fused:
    """A fused kernel: `fused[grid](*args, q=q, scale=scale, num_warps=8)`; made by `epiq.fuse`.

    `grid` and the arguments are the kernel's. The tensors of the epilogue, outputs and inputs, are
    given by their names; the strides of an output say how it is laid out. The fused argument is
    passed as None unless `keep_output`: nothing is stored there. On CPU tensors the kernel runs in
    epiq's executor, slowly; on CUDA tensors it is compiled by Triton.
    """

    def __init__(
        self,
        kernel: Any,
        output: str | Sequence[str],
        epilogue: Epilogue,
        keep_output: bool = False,
        output_dtype: torch.dtype | None = None,
    ) -> None:
        self.kernel: UserKernel = kernel.kernel if isinstance(kernel, Fused) else UserKernel(kernel)
        if isinstance(kernel, Fused):
            check_chain(kernel.kernel, kernel.outputs, kernel.epilogue, output)
            check_epilogue(kernel.kernel, epilogue)
            assert isinstance(output, str), "check_chain"
            epilogue = Chain(kernel.epilogue, output, epilogue, keep_result=keep_output)
            output, keep_output = kernel.outputs, kernel.keep_output
            output_dtype = output_dtype or kernel.output_dtype
        self.outputs: tuple[str, ...] = check_outputs(self.kernel, output)
        self.epilogue: Epilogue = epilogue
        self.keep_output: bool = keep_output
        self.output_dtype: torch.dtype | None = output_dtype
        check_epilogue(self.kernel, epilogue, len(self.outputs))
        self._calls = CallReader(self.kernel, self.outputs, epilogue, keep_output, output_dtype)
        self._specializations: dict[Any, list[Specialization]] = {}
        self._chosen: dict[Any, Choice] = {}
        self._replays: dict[Any, Replay] = {}
        self._last: Specialization | None = None

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def run(*args: Any, **kwargs: Any) -> None:
            self._run(grid, args, kwargs)

        return run

    def __repr__(self) -> str:
        return f"Fused({self.kernel.name}, output={', '.join(self.outputs)!r}, epilogue={self.epilogue!r})"

    def specialize(self, *args: Any, **kwargs: Any) -> Specialization:
        """The fused kernel for these arguments, given as at a launch; nothing is launched.

        Tensors may be on any device, the meta device too. An autotuned kernel takes the first of its
        configs that can be fused.
        Raises: as a launch does.
        """
        call = self._calls.read(args, kwargs)
        return self._first(call)[0]

    def ir(self, level: str = "fused") -> str:
        """IR of the kernel that was last specialized or launched; see `Specialization.ir`.

        Raises: ValueError before the first one.
        """
        return self._specialized().ir(level)

    def ptx(self, target: Target | str) -> str:
        """PTX of the kernel that was last specialized or launched.

        Raises: ValueError before the first one, or for an unknown target.
        """
        return self._specialized().ptx(target)

    def _specialized(self) -> Specialization:
        if self._last is None:
            raise ValueError(
                f"{self.kernel.name} is not specialized yet: call specialize(*args) with arguments"
            )
        return self._last

    def _run(self, grid: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        key = fingerprint(args, kwargs)
        known = self._replays.get(key) if key is not None else None
        if known is not None:
            self._last = known.specialization
            bound, extra = known.with_tensors(args, kwargs, self.outputs)
            launch(known.specialization, bound, grid_sizes(grid, bound), extra, known.device)
            return
        call = self._calls.read(args, kwargs)
        specialization, bound = self._choose(grid, call)
        self._check_geometry(call, specialization, bound)
        launch(specialization, bound, grid_sizes(grid, bound), call.extra, call.device)
        if key is not None and not self.kernel.has_hooks:
            results = call.description.results
            names = [*self._calls.inputs, *(result.name for result in results)]
            are_bytes = [False] * len(self._calls.inputs) + [result.is_bytes for result in results]
            known_of = [replace(each, tensor=torch.empty(0)) for each in call.extra]
            kinds = tuple(zip(names, are_bytes, known_of, strict=True))
            self._replays[key] = Replay(specialization, bound, kinds, call.device)

    def _check_geometry(self, call: Call, specialization: Specialization, bound: Bound) -> None:
        """What the kernel's strides say of its outputs must go with the epilogue's tensors."""
        given = call.outputs[0]
        padded = isinstance(given, Tensor) and given.ndim > 1 and given.device.type != "meta"
        names = ", ".join(self.outputs)
        for apart in specialization.strides(bound):
            if apart < 0:
                raise ValueError(
                    f"{self.kernel.name} stores rows of {names} {apart} elements apart, from the last to the "
                    f"first: the epilogue's tensors have them in the other order"
                )
            # Twice as far apart, say, may be two of our rows in one of the kernel's, side by side.
            several = call.rows > 1 and apart > call.columns and apart % call.columns == 0 and not padded
            if apart < call.columns or several:
                raise ValueError(
                    f"{self.kernel.name} stores rows of {names} {apart} elements apart, but the "
                    f"tensors of the epilogue have rows of {call.columns}: give them rows of {apart}, or, "
                    f"where its rows are padded, {names} itself"
                )
        if not specialization.flat:
            return
        for each in call.extra:
            tensor = each.tensor
            if each.distance is not None and not tensor.is_contiguous():
                raise ValueError(
                    f"{self.kernel.name} stores elements without rows, so the epilogue's tensors must be "
                    f"contiguous, got shape {tuple(tensor.shape)} with strides {tuple(tensor.stride())}"
                )

    def _choose(self, grid: Any, call: Call) -> tuple[Specialization, Bound]:
        """On a GPU, the fastest of the configs for these arguments, timed once."""
        if call.device.type != "cuda":
            return self._first(call)
        key = (self.kernel.tuning_key(call.args, call.kwargs), call.description.text)
        if key in self._chosen:
            return self._specialize(call, self._chosen[key])
        choices = self._fusible(call)
        if len(choices) > 1:
            choices = [min(choices, key=lambda choice: self._time_us(grid, call, choice))]
            self.kernel.reset(self._specialize(call, choices[0])[1].values)
        self._chosen[key] = choices[0]
        return self._specialize(call, choices[0])

    def _time_us(self, grid: Any, call: Call, choice: Choice) -> float:
        from triton.testing import do_bench

        specialization, bound = self._specialize(call, choice)
        sizes = grid_sizes(grid, bound)
        extra = _scratch(call.extra, len(self._calls.inputs))
        once = self.kernel.restoring(
            bound.values, lambda: launch(specialization, bound, sizes, extra, call.device)
        )
        return 1000.0 * float(do_bench(once))

    def _first(self, call: Call) -> tuple[Specialization, Bound]:
        return self._specialize(call, self._fusible(call, most=1)[0])

    def _fusible(self, call: Call, most: int | None = None) -> list[Choice]:
        """The configs that the epilogue can be fused into.

        Raises: FusionError, that of the first config, if there is none.
        """
        found: list[Choice] = []
        refused: FusionError | None = None
        for choice in self.kernel.choices(call.args, call.kwargs):
            try:
                self._specialize(call, choice)
            except FusionError as error:
                refused = refused or error
                continue
            found.append(choice)
            if len(found) == most:
                break
        if not found:
            assert refused is not None
            raise refused
        return found

    def _specialize(self, call: Call, choice: Choice) -> tuple[Specialization, Bound]:
        bound = self._bind(call, choice)
        divisibility = []
        for each in call.extra:
            aligned = each.tensor.device.type == "meta" or each.tensor.data_ptr() % 16 == 0
            divisibility.append(16 if aligned else 1)
            if each.distance is not None:
                divisibility.append(divisor(each.distance))
        text = call.description.with_layouts([matrix.layout for matrix in call.layouts])
        key = (bound.key, text, tuple(divisibility))
        known = self._specializations.setdefault(key, [])
        for specialization in known:
            if specialization.holds_for(bound):
                self._last = specialization
                return specialization, bound
        made = self._compile(bound, call, text, divisibility)
        known.append(made)
        self._last = made
        return made, bound

    def _compile(self, bound: Bound, call: Call, text: str, divisibility: Sequence[int]) -> Specialization:
        from triton.compiler.errors import CompilationError

        try:
            return specialize(
                bound,
                self.outputs,
                text,
                keep_output=self.keep_output,
                columns=call.columns,
                divisibility=divisibility,
            )
        except CompilationError as error:
            missing = [n for n, given in zip(self.outputs, call.outputs, strict=True) if given is None]
            if not missing:
                raise
            raise ValueError(
                f"{self.kernel.name} does not compile with a pointer for {missing[0]}, which is None: where "
                "it takes a descriptor pass one, through which nothing is stored"
            ) from error

    def _bind(self, call: Call, choice: Choice) -> Bound:
        from triton.backends.compiler import GPUTarget

        target = _CPU_TARGET
        if call.device.type == "cuda":
            target = Target.current() or _CPU_TARGET
        kwargs = self.kernel.with_choice(call.args, call.kwargs, choice)
        return self.kernel.bind(call.args, kwargs, GPUTarget("cuda", target.arch, 32))


def _scratch(extra: list[Extra], inputs: int) -> list[Extra]:
    """The tensors to time a kernel with, which runs many times: results that share memory with an input of
    the epilogue, as a residual that is added in place, are replaced."""
    held = {each.tensor.untyped_storage().data_ptr() for each in extra[:inputs]}

    def replaced(each: Extra) -> Extra:
        tensor = each.tensor
        if tensor.untyped_storage().data_ptr() not in held:
            return each
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        return replace(each, tensor=empty)

    return extra[:inputs] + [replaced(each) for each in extra[inputs:]]
