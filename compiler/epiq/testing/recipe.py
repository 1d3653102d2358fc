"""A model as data: inputs, lines of torch code, results; to be run, shrunk, kept, and printed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from epiq import formats
from epiq.formats import dequantize, quantize
from epiq.testing import ops
from epiq.testing.values import make_values

# What a line of a recipe may name, besides the values before it.
NAMES: dict[str, Any] = {
    "torch": torch,
    "F": F,
    "formats": formats,
    "replace": dataclasses.replace,
    "quantize": quantize,
    "dequantize": dequantize,
    "ops": ops,
}

ROUTES = ("direct", "backend")


@dataclass(frozen=True)
class Input:
    """A tensor that the model takes.

    shape: numbers, or names of sizes ("T"). dtype: "bfloat16". kind: what its values are (values.KINDS).
    seed: of its values. strided: a view into a wider tensor, not contiguous.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    kind: str = "normal"
    seed: int = 0
    strided: bool = False

    def make(self, sizes: Mapping[str, int], device: str = "cpu") -> torch.Tensor:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)
        dtype = getattr(torch, self.dtype)
        wide = (*shape[:-1], shape[-1] + 16) if self.strided and shape else shape
        values = make_values(wide, dtype, self.kind, self.seed).to(device)
        return values[..., : shape[-1]] if wide != shape else values


@dataclass(frozen=True)
class Step:
    """One line. code: an expression with a {} for each argument. label: how tables count it."""

    results: tuple[str, ...]
    code: str
    args: tuple[str, ...]
    label: str

    def line(self) -> str:
        return f"{', '.join(self.results)} = {self.code.format(*self.args)}"


@dataclass(frozen=True)
class Recipe:
    """A model.

    sizes: the named sizes of the inputs' shapes. dynamic: they are open when the model is traced, and
    `others` are further values of them that the same trace must serve. route: "direct" rewrites the traced
    graph and lets torch run the rest, "backend" goes through torch.compile.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    dynamic: bool = False
    others: tuple[Mapping[str, int], ...] = ()
    route: str = "direct"

    def source(self, name: str = "graph") -> str:
        """The model as the text of a Python function."""
        lines = [f"def {name}({', '.join(each.name for each in self.inputs)}):"]
        lines += [f"    {step.line()}" for step in self.steps]
        lines.append(f"    return ({''.join(f'{output}, ' for output in self.outputs)})")
        return "\n".join(lines) + "\n"

    def function(self, *, plain: bool = False) -> Callable[..., tuple[torch.Tensor, ...]]:
        """The model. plain: custom ops are the torch functions that stand for them."""
        space = {**NAMES, "ops": ops.plain} if plain else dict(NAMES)
        exec(compile(self.source(), "<recipe>", "exec"), space)
        made: Callable[..., tuple[torch.Tensor, ...]] = space["graph"]
        return made

    def make_inputs(
        self, sizes: Mapping[str, int] | None = None, device: str = "cpu"
    ) -> tuple[torch.Tensor, ...]:
        """New inputs, the same each time. sizes: other values for the named sizes."""
        return tuple(each.make(sizes or self.sizes, device) for each in self.inputs)

    def without_dead_steps(self) -> Recipe:
        """Without what no output needs."""
        needed = set(self.outputs)
        steps: list[Step] = []
        for step in reversed(self.steps):
            if needed.intersection(step.results):
                steps.append(step)
                needed.update(step.args)
        inputs = tuple(each for each in self.inputs if each.name in needed)
        return dataclasses.replace(self, steps=tuple(reversed(steps)), inputs=inputs)

    def uses_custom_ops(self) -> bool:
        return any("ops." in step.code for step in self.steps)

    def num_elements(self) -> int:
        """Elements of all inputs, the size that shrinking brings down."""
        return sum(
            math.prod(self.sizes[size] if isinstance(size, str) else size for size in each.shape)
            for each in self.inputs
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Recipe:
        read = json.loads(text)
        read["inputs"] = tuple(Input(**{**each, "shape": tuple(each["shape"])}) for each in read["inputs"])
        read["steps"] = tuple(
            Step(tuple(each["results"]), each["code"], tuple(each["args"]), each["label"])
            for each in read["steps"]
        )
        return Recipe(**{**read, "outputs": tuple(read["outputs"]), "others": tuple(read["others"])})


def labels(steps: Iterable[Step]) -> list[str]:
    return [step.label for step in steps]
