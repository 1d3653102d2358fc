"""A user's Triton kernel: its wrappers, its arguments, its Triton IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_POINTER_DTYPES: dict[torch.dtype, str] = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float64: "*fp64",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.int8: "*i8",
    torch.uint8: "*u8",
    torch.float8_e4m3fn: "*fp8e4nv",
    torch.float8_e5m2: "*fp8e5",
}


@dataclass(frozen=True)
class Choice:
    """One way to run a kernel: what a config of an autotuner adds to the arguments."""

    values: Mapping[str, Any]
    pre_hook: Callable[[dict[str, Any]], None] | None = None
    label: str = ""


class UserKernel:
    """A `@triton.jit` function, as it is or below `@triton.autotune` and `@triton.heuristics`.

    Wrappers of other packages that hold the function as `fn` are looked through.
    Raises: TypeError for anything else.
    """

    def __init__(self, kernel: Any) -> None:
        from triton.runtime.autotuner import Autotuner, Heuristics
        from triton.runtime.jit import JITFunction

        self.wrappers: list[Any] = []
        inner = kernel
        while not isinstance(inner, JITFunction) and hasattr(inner, "fn"):
            if isinstance(inner, (Autotuner, Heuristics)):
                self.wrappers.append(inner)
            inner = inner.fn
        if not isinstance(inner, JITFunction) or inner.is_gluon():
            raise TypeError(f"kernel must be a @triton.jit function, got {type(inner).__name__}")
        self.function: Any = inner
        self.names: tuple[str, ...] = tuple(parameter.name for parameter in inner.params)

    @property
    def name(self) -> str:
        return str(self.function.__name__)

    @property
    def has_hooks(self) -> bool:
        """Whether a config of the autotuner has something run before each launch."""
        configs = (config for wrapper in self.wrappers for config in getattr(wrapper, "configs", ()))
        return any(config.pre_hook is not None for config in configs)

    def choices(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Choice]:
        """The configs of the autotuner, pruned as it prunes them; a single empty one without it."""
        from triton.runtime.autotuner import Autotuner

        for wrapper in self.wrappers:
            if not isinstance(wrapper, Autotuner):
                continue
            wrapper.nargs = dict(zip(wrapper.arg_names, args, strict=False))
            try:
                configs = wrapper.prune_configs(dict(kwargs))
            finally:
                wrapper.nargs = None
            return [Choice(config.all_kwargs(), config.pre_hook, str(config)) for config in configs]
        return [Choice({})]

    def tuning_key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values that the autotuner chooses a config by."""
        from triton.runtime.autotuner import Autotuner

        named = {**dict(zip(self.names, args, strict=False)), **kwargs}
        keys = [key for w in self.wrappers if isinstance(w, Autotuner) for key in w.keys]
        tensors = [str(value.dtype) for value in named.values() if isinstance(value, Tensor)]
        return (*(named.get(key) for key in keys), *tensors)

    def restoring(self, values: Mapping[str, Any], run: Callable[[], None]) -> Callable[[], None]:
        """`run` as the autotuner times it, which runs it many times: arguments that a launch adds to or
        changes are reset before and restored after, where the autotuner is told their names."""
        from triton.runtime.autotuner import Autotuner

        tuners = [wrapper for wrapper in self.wrappers if isinstance(wrapper, Autotuner)]

        def once() -> None:
            for tuner in tuners:
                tuner.pre_hook(dict(values))
            run()
            for tuner in tuners:
                tuner.post_hook(dict(values), exception=None)

        return once

    def reset(self, values: Mapping[str, Any]) -> None:
        """Sets the arguments to zero that the autotuner resets before the launch that counts."""
        from triton.runtime.autotuner import Autotuner

        for wrapper in self.wrappers:
            if isinstance(wrapper, Autotuner):
                wrapper.pre_hook(dict(values), reset_only=True)

    def with_choice(self, args: Sequence[Any], kwargs: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
        """The keyword arguments of the function itself, heuristics evaluated."""
        from triton.runtime.autotuner import Heuristics

        complete = {**kwargs, **choice.values}
        for wrapper in self.wrappers:
            if isinstance(wrapper, Heuristics):
                for name, rule in wrapper.values.items():
                    complete[name] = rule({**dict(zip(wrapper.arg_names, args, strict=False)), **complete})
        if choice.pre_hook is not None:
            choice.pre_hook({**dict(zip(self.names, args, strict=False)), **complete})
        return complete

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], target: Any) -> Bound:
        """Specializes the function to its arguments, as Triton does at a launch.

        Raises: TypeError for missing, unexpected or repeated arguments.
        """
        from triton.compiler.compiler import make_backend
        from triton.runtime.jit import create_function_from_signature

        function = self.function
        backend = make_backend(target)
        binder = create_function_from_signature(function.signature, function.params, backend)
        try:
            named, kinds, options = binder(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{str(error).removeprefix('dynamic_func')}") from None
        unknown = [name for name in options if name not in backend.parse_options({}).__dict__]
        if unknown:
            raise TypeError(f"{self.name} got an unexpected keyword argument {unknown[0]!r}")
        signature: dict[str, Any] = {name: kind[0] for name, kind in zip(self.names, kinds, strict=True)}
        for name, kind in signature.items():
            # Triton makes constants of ones, unless told not to: the analysis needs to see them.
            if kind in ("i32", "i64") and named[name] == 1:
                signature[name] = "constexpr"
        attributes = {
            path: backend.parse_attr(key) for path, key in leaves([kind[1] for kind in kinds])
            if isinstance(key, str)
        }  # fmt: skip
        values = list(named.values())
        constants = {
            path: _at(values, path) for path, kind in leaves(list(signature.values())) if kind == "constexpr"
        }
        return Bound(self, dict(named), signature, attributes, constants, dict(options), target)


@dataclass(frozen=True)
class Bound:
    """A kernel with the types of its arguments, its constants and Triton's options."""

    kernel: UserKernel
    values: dict[str, Any]
    signature: dict[str, Any]
    attributes: dict[tuple[int, ...], Any]
    constants: dict[tuple[int, ...], Any]
    options: dict[str, Any]
    target: Any

    @property
    def key(self) -> tuple[Any, ...]:
        """What the Triton IR depends on."""
        constants = [(path, _constant_key(value)) for path, value in self.constants.items()]
        return (
            tuple(self.signature.items()), str(self.attributes), str(constants),
            str(sorted(self.options.items())), self.target.arch, self.kernel.function.cache_key,
        )  # fmt: skip

    @property
    def runtime_names(self) -> list[str]:
        """The parameters that are arguments at run time."""
        return [name for name, kind in self.signature.items() if kind != "constexpr"]

    @property
    def runtime_values(self) -> list[tuple[Any, str]]:
        """The arguments at run time and their types, tuples taken apart."""
        kinds = leaves(list(self.signature.values()))
        values = list(self.values.values())
        return [(_at(values, path), kind) for path, kind in kinds if kind != "constexpr"]

    @property
    def integers(self) -> dict[str, int]:
        """What is an integer at run time: parameters, and sizes and strides of descriptors from the host,
        "desc.shape[0]" and "desc.strides[0]"."""
        found: dict[str, int] = {}
        for name in self.runtime_names:
            value = self.values[name]
            if self.signature[name] in ("i32", "i64", "u64"):
                found[name] = value
            elif hasattr(value, "block_shape"):
                found.update({f"{name}.shape[{i}]": int(size) for i, size in enumerate(value.shape)})
                found.update({f"{name}.strides[{i}]": int(step) for i, step in enumerate(value.strides)})
        return found

    def position(self, name: str) -> int:
        """The number of the function argument that a parameter, or one of `integers`, is in Triton IR.

        Raises: ValueError for a parameter that is a constant of the call.
        """
        parameter, _, part = name.partition(".")
        position = 0
        for other in self.runtime_names:
            if other == parameter:
                return position + self._place(parameter, part)
            position += argument_count(self.signature[other])
        raise ValueError(f"{name} is a constant of this call of {self.kernel.name}")

    def _place(self, descriptor: str, part: str) -> int:
        """Where a descriptor's size or stride follows it."""
        if not part:
            return 0
        kind, _, index = part.removesuffix("]").partition("[")
        rank = len(self.values[descriptor].shape)
        return 1 + int(index) + (rank if kind == "strides" else 0)

    def ttir(self) -> str:
        """The kernel's Triton IR, after Triton's own cleanup, with source lines."""
        from triton._C.libtriton import ir as triton_ir
        from triton.backends.compiler import Language
        from triton.compiler import ASTSource
        from triton.compiler.compiler import make_backend

        source = ASTSource(self.kernel.function, self.signature, self.constants, self.attributes)
        backend = make_backend(self.target)
        options = backend.parse_options(dict(self.options))
        context = triton_ir.context()
        triton_ir.load_dialects(context)
        backend.load_dialects(context)
        module = source.make_ir(
            self.target,
            options,
            backend.get_codegen_implementation(options),
            backend.get_module_map(),
            context,
        )
        stages: dict[str, Any] = {}
        backend.add_stages(stages, options, Language.TRITON)
        return str(stages["ttir"](module, {**options.__dict__, "target": self.target}))


def leaves(values: Sequence[Any]) -> list[tuple[tuple[int, ...], Any]]:
    """What is in nested tuples, each with the way to it."""
    found: list[tuple[tuple[int, ...], Any]] = []
    for i, value in enumerate(values):
        if isinstance(value, (tuple, list)):
            found += [((i, *path), leaf) for path, leaf in leaves(value)]
        else:
            found.append(((i,), value))
    return found


def _at(values: Any, path: tuple[int, ...]) -> Any:
    for i in path:
        values = values[i]
    return values


def argument_count(kind: Any) -> int:
    """How many function arguments Triton makes of one of this type: a host descriptor brings its
    shape and strides, a tuple its elements."""
    if isinstance(kind, (tuple, list)):
        return sum(argument_count(part) for part in kind if part != "constexpr")
    if not kind.startswith("tensordesc"):
        return 1
    block = kind[kind.index("[") + 1 : kind.index("]")]
    return 1 + 2 * len(block.split(","))


def stand_in(dtype: torch.dtype) -> Tensor:
    """An aligned tensor that gives a pointer argument its type where the caller passes None.

    Raises: ValueError for a dtype that no kernel's output before quantization has.
    """
    if dtype not in _POINTER_DTYPES:
        raise ValueError(f"output_dtype must be one of {', '.join(map(str, _POINTER_DTYPES))}, got {dtype}")
    return torch.empty(0, dtype=dtype, device="meta")


def _constant_key(value: Any) -> str:
    return str(getattr(value, "cache_key", value))
