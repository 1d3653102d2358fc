"""A kernel with an epilogue: launched like the kernel, with the epilogue's tensors as keywords."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.fuse.describe import Description, describe
from epiq.fuse.epilogue import Epilogue
from epiq.fuse.errors import FusionError
from epiq.fuse.kernel import Bound, Choice, UserKernel, stand_in
from epiq.fuse.launch import launch
from epiq.fuse.matrix import Matrix, divisor, input_kind, output_matrix
from epiq.fuse.specialize import Specialization, specialize

# Where the kernel runs on the CPU, its IR is that of this target.
_CPU_TARGET = Target(90)
_HALVES = (torch.bfloat16, torch.float16)
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
        self.kernel = UserKernel(kernel)
        self.epilogue = epilogue
        self.keep_output = keep_output
        self.output_dtype = output_dtype
        self.output = output
        _check_output(self.kernel, output)
        _check_epilogue(self.kernel, epilogue)
        self._descriptions: dict[Any, Description] = {}
        self._specializations: dict[Any, list[Specialization]] = {}
        self._chosen: dict[Any, Choice] = {}
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
        call = self._take_apart(args, kwargs)
        specialization, bound = self._choose(grid, call)
        if specialization.flat:
            self._check_contiguous(call)
        launch(specialization, bound, _grid(grid, bound), call.extra, call.device)

    def _check_contiguous(self, call: _Call) -> None:
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
                sizes = _grid(grid, bound)
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
            if all(bound.values[name] % number == 0 for name, number in specialization.claims.items()):
                self._last = specialization
                return specialization, bound
        made = specialize(
            bound,
            self.output,
            text,
            keep_output=self.keep_output,
            columns=call.columns,
            divisibility=divisibility,
        )
        known.append(made)
        self._last = made
        return made, bound

    def _bind(self, call: _Call, choice: Choice) -> Bound:
        from triton.backends.compiler import GPUTarget

        target = _CPU_TARGET
        if call.device.type == "cuda":
            target = Target.current() or _CPU_TARGET
        kwargs = self.kernel.with_choice(call.args, call.kwargs, choice)
        return self.kernel.bind(call.args, kwargs, GPUTarget("cuda", target.arch, 32))

    def _take_apart(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call:
        kernel_kwargs = dict(kwargs)
        inputs = [_tensor(name, kernel_kwargs.pop(name, None)) for name in self.epilogue.inputs]
        dtype, values = self._with_output(list(args), kernel_kwargs)
        names, outputs = self._outputs(kernel_kwargs)
        first = output_matrix(names[0], outputs[0])
        columns, description = self._describe(dtype, inputs, first)
        layouts = self._check_outputs(description, names, outputs, first, columns)
        extra: list[tuple[Tensor, int | None]] = [
            (tensor, input_kind(name, tensor, first.rows, columns).stride)
            for name, tensor in zip(self.epilogue.inputs, inputs, strict=True)
        ]
        for result, tensor, matrix in zip(description.results, outputs, layouts, strict=True):
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
        dtype = self.output_dtype or self._guess_dtype([*args, *kwargs.values()])
        if position < len(args):
            args[position] = stand_in(dtype)
        else:
            kwargs[self.output] = stand_in(dtype)
        return dtype, args

    def _guess_dtype(self, values: Sequence[Any]) -> torch.dtype:
        """What the kernel would store: the dtype of its 16-bit operands, bf16 for 8-bit ones."""
        tensors = [getattr(value, "base", value) for value in values]
        dtypes = {value.dtype for value in tensors if isinstance(value, Tensor)}
        halves = [dtype for dtype in _HALVES if dtype in dtypes]
        if len(halves) == 1:
            return halves[0]
        if not halves and any(dtype.itemsize == 1 for dtype in dtypes):
            return torch.bfloat16
        if not halves and torch.float32 in dtypes:
            return torch.float32
        raise ValueError(
            f"output_dtype is needed: {self.output} is None, other tensors are {sorted(map(str, dtypes))}"
        )

    def _outputs(self, kwargs: dict[str, Any]) -> tuple[tuple[str, ...], list[Tensor]]:
        """Takes the tensors for results out of the keywords: those that the kernel does not know."""
        if self.epilogue.outputs is not None:
            names = self.epilogue.outputs
        else:
            names = tuple(
                name
                for name, value in kwargs.items()
                if isinstance(value, Tensor) and name not in self.kernel.names
            )
            order = {"q": 0, "scale": 1}
            names = tuple(sorted(names, key=lambda name: order.get(name, 2)))
            if not names:
                raise TypeError(
                    f"{self.kernel.name} needs a tensor for each result of the epilogue, got none"
                )
        return names, [_tensor(name, kwargs.pop(name, None)) for name in names]

    def _describe(
        self, dtype: torch.dtype, inputs: Sequence[Tensor], first: Matrix
    ) -> tuple[int, Description]:
        """The columns of the kernel's output, and the epilogue for them.

        The first result has as many, or half as many where the epilogue combines pairs of columns.
        """
        description: Description | None
        try:
            description = self._describe_for(dtype, inputs, first.rows, first.columns)
        except Exception:
            description = self._describe_pairs(dtype, inputs, first)
            if description is None:
                raise
        columns = first.columns * description.width // description.results[0].width
        return columns, self._describe_for(dtype, inputs, first.rows, columns)

    def _describe_pairs(
        self, dtype: torch.dtype, inputs: Sequence[Tensor], first: Matrix
    ) -> Description | None:
        """The epilogue for twice the columns, None if it does not make one of two."""
        try:
            description = self._describe_for(dtype, inputs, first.rows, 2 * first.columns)
        except Exception:
            return None
        return description if 2 * description.results[0].width == description.width else None

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
        names: Sequence[str],
        outputs: Sequence[Tensor],
        first: Matrix,
        columns: int,
    ) -> list[Matrix]:
        wanted = tuple(result.name for result in description.results)
        if set(names) != set(wanted) or len(names) != len(wanted):
            raise TypeError(f"the epilogue returns {', '.join(wanted)}, got tensors for {', '.join(names)}")
        layouts = []
        for result, name, tensor in zip(description.results, names, outputs, strict=True):
            matrix = output_matrix(name, tensor)
            width = result.width * columns // description.width
            if tensor.dtype != result.dtype:
                raise TypeError(f"{name} must be {result.dtype}, got {tensor.dtype}")
            if (matrix.rows, matrix.columns) != (first.rows, width):
                raise ValueError(
                    f"{name} must have {first.rows} rows of {width}, got shape {tuple(tensor.shape)}"
                )
            layouts.append(matrix)
        return layouts


def _grid(grid: Any, bound: Bound) -> tuple[int, int, int]:
    sizes = grid(bound.values) if callable(grid) else grid
    sizes = (sizes,) if isinstance(sizes, int) else tuple(int(size) for size in sizes)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"grid {sizes} is not one to three sizes of 0 or more")
    x, y, z = (*sizes, 1, 1)[:3]
    if math.prod((x, y, z)) >= 2**31:
        raise ValueError(f"grid {(x, y, z)} has {x * y * z} programs, the most is {2**31 - 1}")
    return x, y, z


def _tensor(name: str, value: Any) -> Tensor:
    if value is None:
        raise TypeError(f"the epilogue needs a tensor for {name}, got None")
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    return value


def _check_output(kernel: UserKernel, output: str) -> None:
    if not isinstance(output, str):
        raise TypeError(f"output must be the name of an argument, got {type(output).__name__}")
    if output not in kernel.names:
        raise ValueError(f"output {output!r} is not an argument of {kernel.name}({', '.join(kernel.names)})")


def _check_epilogue(kernel: UserKernel, epilogue: Epilogue) -> None:
    if not isinstance(epilogue, Epilogue):
        raise TypeError(f"epilogue must be epiq.Quantize or epiq.Epilogue, got {type(epilogue).__name__}")
    for name in (*epilogue.inputs, *(epilogue.outputs or ())):
        if name in kernel.names:
            raise ValueError(f"{name!r} is an argument of {kernel.name} and of the epilogue")
