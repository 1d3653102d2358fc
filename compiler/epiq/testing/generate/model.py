"""From a seed to a recipe."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from epiq.testing.generate.builder import FLOATS, Builder
from epiq.testing.generate.producers import PRODUCERS
from epiq.testing.generate.quantizers import QUANTIZERS
from epiq.testing.generate.views import VIEWS
from epiq.testing.recipe import Recipe

_WIDTHS = (32, 64, 96, 128, 128, 192, 256, 256, 384, 512, 160, 48, 40, 200, 16, 1024)
_TOKENS = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 130)
# Odd and unlike any width, so that a size of a value says which size of the inputs it is.
_OPEN_TOKENS = (3, 5, 7, 11, 13, 19)
_KINDS = ("normal",) * 5 + ("ranges", "ranges", "integers", "zeros", "special", "tiny")
_MAX_TRIES = 200


def random_recipe(seed: int, *, dynamic: bool | None = None) -> Recipe:
    """The recipe of a seed: a few inputs, producers and views, and at least one quantization."""
    rng = random.Random(seed)
    is_dynamic = rng.random() < 0.12 if dynamic is None else dynamic
    builder = _start(rng, is_dynamic)
    wanted = rng.randint(6, 20)
    for _ in range(_MAX_TRIES):
        if len(builder.steps) >= wanted:
            break
        table = rng.choices((PRODUCERS, VIEWS, QUANTIZERS), (6, 1.6, 1.2))[0]
        table.try_one(builder)
    wanted_pairs = rng.choice((1, 1, 2))
    for _ in range(_MAX_TRIES):
        if wanted_pairs == 0:
            break
        wanted_pairs -= QUANTIZERS.try_one(builder)
    return _finish(builder, is_dynamic)


def _start(rng: random.Random, dynamic: bool) -> Builder:
    tokens = _OPEN_TOKENS if dynamic else _TOKENS
    sizes = {"T": rng.choice(tokens), "K": rng.choice(_WIDTHS)}
    if rng.random() < 0.25:
        sizes["B"] = rng.choice([size for size in tokens if size != sizes["T"] and size < 20])
    if not dynamic and rng.random() < 0.03:
        sizes["T"] = 0
    builder = Builder(rng, sizes, dynamic=("B", "T") if dynamic else ())
    builder.kind = rng.choice(_KINDS)
    builder.custom_ops = rng.random() < 0.3
    shape = [sizes[name] for name in ("B", "T", "K") if name in sizes]
    dtype = rng.choice((torch.bfloat16, torch.bfloat16, *FLOATS))
    for _ in range(rng.randint(1, 3)):
        builder.input(shape, dtype, strided=rng.random() < 0.1)
    return builder


def variants(recipe: Recipe, seed: int, count: int) -> list[Recipe]:
    """Models of the same steps that return other values, and so keep other steps and inputs."""
    rng = random.Random(f"{seed} variants")
    made = [recipe]
    quantized = [step for step in recipe.steps if step.label.startswith(("quantize", "to(", "custom group"))]
    names = [name for step in recipe.steps for name in step.results]
    for _ in range(count - 1):
        seeds = rng.sample(quantized, min(len(quantized), rng.choice((1, 1, 2, 3))))
        chosen = {name for step in seeds for name in step.results}
        chosen.update(rng.sample(names, min(len(names), rng.choice((0, 1, 2, 4)))))
        outputs = rng.sample(sorted(chosen), len(chosen))
        made.append(replace(recipe, outputs=tuple(outputs)).without_dead_steps())
    return made


def _finish(builder: Builder, dynamic: bool) -> Recipe:
    rng = builder.rng
    outputs = builder.unused()
    inner = [name for step in builder.steps for name in step.results if name not in outputs]
    outputs += rng.sample(inner, min(len(inner), rng.choice((0, 0, 1, 1, 2, 3))))
    rng.shuffle(outputs)
    if len(outputs) > 1 and rng.random() < 0.3:
        # What nobody reads is dead code: the graph must not keep it, nor trip over it.
        del outputs[rng.randrange(len(outputs))]
    outputs = [name for name in outputs if isinstance(builder.values[name], torch.Tensor)]
    recipe = Recipe(
        inputs=tuple(builder.inputs),
        steps=tuple(builder.steps),
        outputs=tuple(outputs),
        sizes=builder.sizes,
        dynamic=dynamic,
        others=tuple({**builder.sizes, **_other_sizes(rng, builder)} for _ in range(2)) if dynamic else (),
    )
    return recipe.without_dead_steps()


def _other_sizes(rng: random.Random, builder: Builder) -> dict[str, int]:
    return {name: rng.choice((2, 4, 9, 16, 37, 129)) for name in ("B", "T") if name in builder.sizes}
