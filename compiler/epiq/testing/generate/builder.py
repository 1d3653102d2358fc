"""A recipe while it is made: every line runs as it is added, so that what torch refuses never gets in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from epiq.testing.recipe import NAMES, Input, Step

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
# Rows of more elements make a graph slow to run without testing more.
MAX_ELEMENTS = 1 << 16


class RejectedError(Exception):
    """A step that does not apply here."""


@dataclass
class Quantized:
    """A pair of the recipe that `dequantize` takes. fmt: the format's expression."""

    q: str
    scale: str
    fmt: str
    extra: str = ""


@dataclass
class Builder:
    """values: what the recipe holds so far, computed. sizes: named sizes of the inputs."""

    rng: random.Random
    sizes: dict[str, int]
    dynamic: tuple[str, ...] = ()
    custom_ops: bool = True
    inputs: list[Input] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)
    pairs: list[Quantized] = field(default_factory=list)
    kind: str = "normal"

    def input(
        self, shape: Sequence[int], dtype: torch.dtype, kind: str | None = None, strided: bool = False
    ) -> str:
        name = f"x{len(self.inputs)}"
        named = tuple(
            self._named(size, index == len(shape) - 1 and len(shape) > 1) for index, size in enumerate(shape)
        )
        text = str(dtype).removeprefix("torch.")
        given = Input(name, named, text, kind or self.kind, self.rng.randrange(1 << 16), strided)
        self.inputs.append(given)
        self.values[name] = given.make(self.sizes)
        return name

    def _named(self, size: int, last: bool) -> int | str:
        """Rows have tokens first and a width last; the name of a size lets others be tried."""
        names = ("K",) if last else ("T", "B", "K")
        return next((name for name in names if self.sizes.get(name) == size), size)

    def step(self, label: str, code: str, *args: str, results: int = 1) -> tuple[str, ...]:
        """Adds a line. Raises: RejectedError where torch does, or where nothing finite is left."""
        number = sum(len(step.results) for step in self.steps)
        names = tuple(f"v{number + index}" for index in range(results))
        step = Step(names, code, args, label)
        try:
            with torch.no_grad():
                found: Any = eval(code.format(*args), NAMES, self.values)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            raise RejectedError(f"{step.line()}: {error}") from error
        listed: list[Tensor] = list(found) if results > 1 else [found]
        for tensor in listed:
            if tensor.numel() > MAX_ELEMENTS:
                raise RejectedError(f"{step.line()}: {tensor.numel()} elements")
            if tensor.dtype in FLOATS and self.kind != "special" and not bool(tensor.isfinite().all()):
                raise RejectedError(f"{step.line()}: not finite")
        self.steps.append(step)
        self.values.update(zip(names, listed, strict=True))
        return names

    def then(self, label: str, code: str, *args: str) -> str:
        return self.step(label, code, *args)[0]

    def pick(self, wanted: Callable[[Tensor], bool]) -> str:
        """A value that is `wanted`, late ones more often. Raises: RejectedError for none."""
        found = [name for name, value in self.values.items() if wanted(value)]
        if not found:
            raise RejectedError("no value fits")
        if self.rng.random() < 0.6:
            return found[-1 - min(int(self.rng.expovariate(1.0)), len(found) - 1)]
        return self.rng.choice(found)

    def rows(self, dtypes: Sequence[torch.dtype] = FLOATS, multiple: int = 1) -> str:
        """A value of rows whose width `multiple` divides."""
        return self.pick(
            lambda x: x.dtype in dtypes and x.dim() >= 2 and x.shape[-1] > 0 and x.shape[-1] % multiple == 0
        )

    def partner(self, name: str) -> str:
        """A value of the shape and dtype of `name`, or a new input."""
        x = self.values[name]
        found = [n for n, v in self.values.items() if v.shape == x.shape and v.dtype == x.dtype]
        if (len(found) > 1 and self.rng.random() < 0.7) or len(self.inputs) > 9:
            return self.rng.choice(found)
        if any(n.startswith("v") for n in (name,)) and self.dynamic and not self._is_plain(x):
            return self.rng.choice(found)
        return self.input(x.shape, x.dtype)

    def _is_plain(self, x: Tensor) -> bool:
        """Whether an input can have this shape for every value of the named sizes."""
        leading = [self.sizes[name] for name in ("B", "T") if name in self.sizes]
        return list(x.shape[:-1]) == leading

    def weight(self, name: str, dtype: torch.dtype | None = None, kind: str = "weight") -> str:
        """A vector as wide as the rows of `name`."""
        x = self.values[name]
        return self.input((x.shape[-1],), dtype or x.dtype, kind)

    def unused(self) -> list[str]:
        """Results that no step reads."""
        read = {arg for step in self.steps for arg in step.args}
        return [name for step in self.steps for name in step.results if name not in read]


Rule = Callable[[Builder], None]


@dataclass
class Table:
    """Kinds of steps with how often each is taken."""

    rules: list[Rule] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, weight: float) -> Callable[[Rule], Rule]:
        def register(rule: Rule) -> Rule:
            self.rules.append(rule)
            self.weights.append(weight)
            return rule

        return register

    def try_one(self, builder: Builder) -> bool:
        """One random step, or none; whether there is one more."""
        rule = builder.rng.choices(self.rules, self.weights)[0]
        steps, inputs = len(builder.steps), len(builder.inputs)
        pairs = len(builder.pairs)
        try:
            rule(builder)
        except RejectedError:
            for step in builder.steps[steps:]:
                for name in step.results:
                    del builder.values[name]
            for each in builder.inputs[inputs:]:
                del builder.values[each.name]
            del builder.steps[steps:], builder.inputs[inputs:], builder.pairs[pairs:]
            return False
        return True
