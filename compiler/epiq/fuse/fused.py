"""A kernel with an epilogue: launched like the kernel, with the epilogue's tensors as keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.fuse.checks import check_chain, check_epilogue, check_output, grid_sizes, guess_dtype, tensor_of
from epiq.fuse.describe import Description, describe
from epiq.fuse.epilogue import Chain, Epilogue
from epiq.fuse.errors import FusionError
from epiq.fuse.kernel import Bound, Choice, UserKernel, stand_in
from epiq.fuse.launch import launch
from epiq.fuse.matrix import Matrix, divisor, input_kind, output_matrix
from epiq.fuse.replay import Replay, fingerprint
from epiq.fuse.specialize import Specialization, specialize

# Where the kernel runs on the CPU, its IR is that of this target.
_CPU_TARGET = Target(90)
_BYTES = tuple(
    getattr(torch, name) for name in ("float8_e8m0fnu", "float4_e2m1fn_x2") if hasattr(torch, name)
)


@dataclass
class _Call:
    """A launch taken apart.

    columns: of the kernel's output. extra: the epilogue's tensors, in the order of the new arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    columns: int
    layouts: list[Matrix]
    description: Description
    extra: list[tuple[Tensor, int | None]]
    device: torch.device


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
        output: str,
        epilogue: Epilogue,
        keep_output: bool = False,
        output_dtype: torch.dtype | None = None,
    ) -> None:
        self.kernel: UserKernel = kernel.kernel if isinstance(kernel, Fused) else UserKernel(kernel)
        self.epilogue: Epilogue = epilogue
        self.output: str = output
        self.keep_output: bool = keep_output
        self.output_dtype: torch.dtype | None = output_dtype
        if isinstance(kernel, Fused):
            check_chain(kernel.kernel, kernel.output, kernel.epilogue, output)
            check_epilogue(kernel.kernel, epilogue)
            self.epilogue = epilogue = Chain(kernel.epilogue, output, epilogue, keep_result=keep_output)
            self.output = output = kernel.output
            self.keep_output = kernel.keep_output
            self.output_dtype = output_dtype or kernel.output_dtype
        check_output(self.kernel, output)
        check_epilogue(self.kernel, epilogue)
        self._descriptions: dict[Any, Description] = {}
        self._specializations: dict[Any, list[Specialization]] = {}
        self._chosen: dict[Any, Choice] = {}
        self._replays: dict[Any, Replay] = {}
        self._last: Specialization | None = None

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def run(*args: Any, **kwargs: Any) -> None:
            self._run(grid, args, kwargs)

        return run

    def __repr__(self) -> str:
        return f"Fused({self.kernel.name}, output={self.output!r}, epilogue={self.epilogue!r})"

    def specialize(self, *args: Any, **kwargs: Any) -> Specialization:
        """The fused kernel for these arguments, given as at a launch; nothing is launched.

        Tensors may be on any device, the meta device too. An autotuned kernel takes the first of its
        configs that can be fused.
        Raises: as a launch does.
        """
        call = self._take_apart(args, kwargs)
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
            bound, extra = known.with_tensors(args, kwargs, self.output)
            launch(known.specialization, bound, grid_sizes(grid, bound), extra, known.device)
            return
        call = self._take_apart(args, kwargs)
        specialization, bound = self._choose(grid, call)
        self._check_geometry(call, specialization, bound)
        launch(specialization, bound, grid_sizes(grid, bound), call.extra, call.device)
        if key is not None and not self.kernel.has_hooks:
            names = [*self.epilogue.inputs, *(result.name for result in call.description.results)]
            are_bytes = [False] * len(self.epilogue.inputs) + [r.is_bytes for r in call.description.results]
            strides = [stride for _, stride in call.extra]
            extra_names = tuple(zip(names, are_bytes, strides, strict=True))
            self._replays[key] = Replay(specialization, bound, extra_names, call.device)

    def _check_geometry(self, call: _Call, specialization: Specialization, bound: Bound) -> None:
        """What the kernel's strides say of the output must go with the epilogue's tensors."""
        rows = call.layouts[0].rows
        given = bound.values[self.output]
        padded = isinstance(given, Tensor) and given.ndim > 1 and given.device.type != "meta"
        for apart in specialization.strides(bound):
            # Twice as far apart, say, may be two of our rows in one of the kernel's, side by side.
            several = rows > 1 and apart > call.columns and apart % call.columns == 0 and not padded
            if abs(apart) < call.columns or several:
                raise ValueError(
                    f"{self.kernel.name} stores rows of {self.output} {apart} elements apart, but the "
                    f"tensors of the epilogue have rows of {call.columns}: give them rows of {apart}, or, "
                    f"where its rows are padded, {self.output} itself"
                )
        if not specialization.flat:
            return
        for tensor, stride in call.extra:
            if stride is not None and not tensor.is_contiguous():
                raise ValueError(
                    f"{self.kernel.name} stores elements without rows, so the epilogue's tensors must be "
                    f"contiguous, got shape {tuple(tensor.shape)} with strides {tuple(tensor.stride())}"
                )

    def _choose(self, grid: Any, call: _Call) -> tuple[Specialization, Bound]:
        """On a GPU, the fastest of the configs for these arguments, timed once."""
        if call.device.type != "cuda":
            return self._first(call)
        key = (self.kernel.tuning_key(call.args, call.kwargs), call.description.text)
        if key in self._chosen:
            return self._specialize(call, self._chosen[key])
        choices = self._fusible(call)
        if len(choices) > 1:
            from triton.testing import do_bench

            def time_us(choice: Choice) -> float:
                specialization, bound = self._specialize(call, choice)
                sizes = grid_sizes(grid, bound)
                return float(do_bench(lambda: launch(specialization, bound, sizes, call.extra, call.device)))

            choices = [min(choices, key=time_us)]
        self._chosen[key] = choices[0]
        return self._specialize(call, choices[0])

    def _first(self, call: _Call) -> tuple[Specialization, Bound]:
        return self._specialize(call, self._fusible(call, most=1)[0])

    def _fusible(self, call: _Call, most: int | None = None) -> list[Choice]:
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

    def _specialize(self, call: _Call, choice: Choice) -> tuple[Specialization, Bound]:
        bound = self._bind(call, choice)
        divisibility = []
        for tensor, stride in call.extra:
            divisibility.append(16 if tensor.device.type == "meta" or tensor.data_ptr() % 16 == 0 else 1)
            if stride is not None:
                divisibility.append(divisor(stride))
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

    def _compile(self, bound: Bound, call: _Call, text: str, divisibility: Sequence[int]) -> Specialization:
        from triton.compiler.errors import CompilationError

        try:
            return specialize(
                bound,
                self.output,
                text,
                keep_output=self.keep_output,
                columns=call.columns,
                divisibility=divisibility,
            )
        except CompilationError as error:
            given = bound.values[self.output]
            if not isinstance(given, Tensor) or given.device.type != "meta":
                raise
            raise ValueError(
                f"{self.kernel.name} does not compile with a pointer for {self.output}, which is None: where "
                "it takes a descriptor pass one, through which nothing is stored"
            ) from error

    def _bind(self, call: _Call, choice: Choice) -> Bound:
        from triton.backends.compiler import GPUTarget

        target = _CPU_TARGET
        if call.device.type == "cuda":
            target = Target.current() or _CPU_TARGET
        kwargs = self.kernel.with_choice(call.args, call.kwargs, choice)
        return self.kernel.bind(call.args, kwargs, GPUTarget("cuda", target.arch, 32))

    def _take_apart(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call:
        kernel_kwargs = dict(kwargs)
        inputs = [tensor_of(name, kernel_kwargs.pop(name, None)) for name in self.epilogue.inputs]
        dtype, values = self._with_output(list(args), kernel_kwargs)
        outputs = self._outputs(kernel_kwargs)
        matrices = {name: output_matrix(name, tensor) for name, tensor in outputs.items()}
        widest = max(matrices, key=lambda name: matrices[name].columns)
        rows = matrices[widest].rows
        columns, description = self._describe(dtype, inputs, widest, matrices[widest])
        layouts = self._check_outputs(description, outputs, matrices, rows, columns)
        extra: list[tuple[Tensor, int | None]] = [
            (tensor, input_kind(name, tensor, rows, columns).stride)
            for name, tensor in zip(self.epilogue.inputs, inputs, strict=True)
        ]
        for result, matrix in zip(description.results, layouts, strict=True):
            tensor = outputs[result.name]
            extra.append((tensor.view(torch.uint8) if result.is_bytes else tensor, matrix.stride))
        devices = {tensor.device for tensor, _ in extra}
        if len(devices) != 1:
            raise ValueError(f"the epilogue's tensors are on {' and '.join(sorted(map(str, devices)))}")
        return _Call(tuple(values), kernel_kwargs, columns, layouts, description, extra, devices.pop())

    def _with_output(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[torch.dtype, list[Any]]:
        """The output's dtype, and the positional arguments with something in its place."""
        position = self.kernel.names.index(self.output)
        given = args[position] if position < len(args) else kwargs.get(self.output)
        if given is not None:
            base = getattr(given, "base", given)
            if not isinstance(base, Tensor):
                raise TypeError(
                    f"{self.output} must be a tensor, a descriptor or None, got {type(given).__name__}"
                )
            return base.dtype, args
        if self.keep_output:
            raise ValueError(f"keep_output needs a tensor for {self.output}, got None")
        dtype = self.output_dtype or guess_dtype([*args, *kwargs.values()], self.output, "output_dtype")
        if position < len(args):
            args[position] = stand_in(dtype)
        else:
            kwargs[self.output] = stand_in(dtype)
        return dtype, args

    def _outputs(self, kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """Takes the tensors for results out of the keywords: those that the kernel does not know."""
        names = self.epilogue.outputs or tuple(
            name
            for name, value in kwargs.items()
            if isinstance(value, Tensor) and name not in self.kernel.names
        )
        if not names:
            raise TypeError(f"{self.kernel.name} needs a tensor for each result of the epilogue, got none")
        return {name: tensor_of(name, kwargs.pop(name, None)) for name in names}

    def _describe(
        self, dtype: torch.dtype, inputs: Sequence[Tensor], widest: str, matrix: Matrix
    ) -> tuple[int, Description]:
        """The columns of the kernel's output, and the epilogue for them.

        The widest result has as many, or half as many where the epilogue combines pairs of columns.
        """
        description: Description | None
        try:
            description = self._describe_for(dtype, inputs, matrix.rows, matrix.columns)
        except Exception:
            description = self._describe_pairs(dtype, inputs, widest, matrix)
            if description is None:
                raise
        result = description.find(widest) or description.results[0]
        columns = matrix.columns * description.width // result.width
        return columns, self._describe_for(dtype, inputs, matrix.rows, columns)

    def _describe_pairs(
        self, dtype: torch.dtype, inputs: Sequence[Tensor], widest: str, matrix: Matrix
    ) -> Description | None:
        """The epilogue for twice the columns, None if it does not make one of two."""
        try:
            description = self._describe_for(dtype, inputs, matrix.rows, 2 * matrix.columns)
        except Exception:
            return None
        result = description.find(widest)
        return description if result and 2 * result.width == description.width else None

    def _describe_for(
        self, dtype: torch.dtype, inputs: Sequence[Tensor], rows: int, columns: int
    ) -> Description:
        kinds = tuple(
            (tensor.dtype, input_kind(name, tensor, rows, columns).shape)
            for name, tensor in zip(self.epilogue.inputs, inputs, strict=True)
        )
        key = (dtype, columns, kinds)
        if key not in self._descriptions:
            self._descriptions[key] = describe(self.epilogue, dtype, columns, kinds)
        return self._descriptions[key]

    def _check_outputs(
        self,
        description: Description,
        outputs: Mapping[str, Tensor],
        matrices: Mapping[str, Matrix],
        rows: int,
        columns: int,
    ) -> list[Matrix]:
        """The results as matrices, in the order of the description."""
        wanted = [result.name for result in description.results]
        if set(outputs) != set(wanted):
            raise TypeError(f"the epilogue returns {', '.join(wanted)}, got tensors for {', '.join(outputs)}")
        for result in description.results:
            tensor, matrix = outputs[result.name], matrices[result.name]
            width = result.width * columns // description.width
            if tensor.dtype != result.dtype:
                raise TypeError(f"{result.name} must be {result.dtype}, got {tensor.dtype}")
            if (matrix.rows, matrix.columns) != (rows, width):
                raise ValueError(
                    f"{result.name} must have {rows} rows of {width}, got shape {tuple(tensor.shape)}"
                )
        return [matrices[name] for name in wanted]
