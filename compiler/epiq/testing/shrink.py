"""Makes a recipe that shows something small, while it still shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from epiq.testing.recipe import NAMES, Input, Recipe, Step

Shows = Callable[[Recipe], bool]
_SIZES = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)


def shrink(recipe: Recipe, shows: Shows, seconds: float = 60.0) -> Recipe:
    """The smallest recipe found within `seconds` for which `shows` still holds.

    shows: whether a recipe shows the same; False for one that cannot be run.
    """
    deadline = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < deadline:
        found = False
        for smaller in _smaller(recipe):
            if time.monotonic() > deadline:
                break
            if shows(smaller):
                recipe, found = smaller, True
                break
    return recipe


def _smaller(recipe: Recipe) -> Iterator[Recipe]:
    """Recipes that are smaller in one way, those that lose most first."""
    yield from _fewer_outputs(recipe)
    yield from _cut(recipe)
    yield from _bypassed(recipe)
    yield from _simpler_inputs(recipe)
    yield from _smaller_sizes(recipe)


def _fewer_outputs(recipe: Recipe) -> Iterator[Recipe]:
    if len(recipe.outputs) < 2:
        return
    for name in recipe.outputs:
        yield replace(recipe, outputs=(name,)).without_dead_steps()
    for name in recipe.outputs:
        rest = tuple(other for other in recipe.outputs if other != name)
        yield replace(recipe, outputs=rest).without_dead_steps()


def _values(recipe: Recipe) -> dict[str, Tensor]:
    values = dict(zip([each.name for each in recipe.inputs], recipe.make_inputs(), strict=True))
    with torch.no_grad():
        for step in recipe.steps:
            found = eval(step.code.format(*step.args), NAMES, values)
            values.update(zip(step.results, found if len(step.results) > 1 else (found,), strict=True))
    return values


def _cut(recipe: Recipe) -> Iterator[Recipe]:
    """The results of a step become inputs, and what only they needed goes."""
    values = _values(recipe)
    for step in reversed(recipe.steps):
        if set(step.results) & set(recipe.outputs) or not step.args:
            continue
        made = tuple(_input_like(name, values[name], recipe) for name in step.results)
        steps = tuple(other for other in recipe.steps if other is not step)
        smaller = replace(recipe, inputs=(*recipe.inputs, *made), steps=steps).without_dead_steps()
        if len(smaller.steps) < len(recipe.steps):
            yield smaller


def _input_like(name: str, value: Tensor, recipe: Recipe) -> Input:
    last = value.dim() - 1
    shape = tuple(
        next((n for n in (("K",) if i == last else ("T", "B")) if recipe.sizes.get(n) == size), size)
        for i, size in enumerate(value.shape)
    )
    return Input(name, shape, str(value.dtype).removeprefix("torch."))


def _bypassed(recipe: Recipe) -> Iterator[Recipe]:
    """A step's users read one of its arguments instead."""
    values = _values(recipe)
    for step in recipe.steps:
        if len(step.results) > 1 or step.results[0] in recipe.outputs:
            continue
        result = values[step.results[0]]
        for arg in step.args:
            if values[arg].shape == result.shape and values[arg].dtype == result.dtype:
                yield _renamed(recipe, step, arg)
                break


def _renamed(recipe: Recipe, gone: Step, name: str) -> Recipe:
    steps = tuple(
        replace(step, args=tuple(name if arg == gone.results[0] else arg for arg in step.args))
        for step in recipe.steps
        if step is not gone
    )
    return replace(recipe, steps=steps).without_dead_steps()


def _simpler_inputs(recipe: Recipe) -> Iterator[Recipe]:
    if recipe.dynamic:
        yield replace(recipe, dynamic=False, others=())
    if len(recipe.others) > 1:
        for other in recipe.others:
            yield replace(recipe, others=(other,))
    for index, given in enumerate(recipe.inputs):
        for simpler in (replace(given, strided=False), replace(given, kind="normal"), replace(given, seed=0)):
            if simpler != given:
                inputs = (*recipe.inputs[:index], simpler, *recipe.inputs[index + 1 :])
                yield replace(recipe, inputs=inputs)


def _smaller_sizes(recipe: Recipe) -> Iterator[Recipe]:
    for name, size in recipe.sizes.items():
        for smaller in _SIZES:
            if smaller >= size:
                break
            others = tuple({**other, name: smaller} if name == "K" else other for other in recipe.others)
            yield replace(recipe, sizes={**recipe.sizes, name: smaller}, others=others)
