"""Joins planned row programs with the producers of their inputs; epiq.producers states the rules P1 to P7.

Comes after planning, since what a program would be anyway is the alternative. A program is joined with one
producer, the last that it needs; a refusal leaves its plan as it was, and is recorded with the rule.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Graph, Node

from epiq.config import Settings
from epiq.frontend.alive import needed_by, wanted
from epiq.frontend.cse import is_view, representatives, writes_memory
from epiq.frontend.plan import Plan, Source, fake_mode
from epiq.producers import ProducerError, Reading, read_producer, read_side_by_side
from epiq.producers.split import Split, split_program
from epiq.producers.tile import Form, TileProgram, halves_of
from epiq.runtime.decide import Mode
from epiq.runtime.kernel import Kernel
from epiq.runtime.op import produced as produced_op
from epiq.runtime.produced import Parts, ProducedGroup
from epiq.runtime.registry import register
from epiq.runtime.shapes import OutputSpec

log = logging.getLogger("epiq")


@dataclass(frozen=True)
class Joined:
    """What became of a row program whose input a producer makes.

    program: its symbol. kernel: its name. nodes: the names of the nodes it computes. producer: `mm`. key: of
    the group, "" where they stay apart. reason: why, with the rule. split: the program in two; its tail is
    None where the producer's kernel computes all of it.
    """

    program: str
    kernel: str
    nodes: frozenset[str]
    producer: str
    key: str = ""
    reason: str = ""
    split: Split | None = None


@dataclass(frozen=True)
class _Found:
    """A producer of inputs of a program. places: numbers of these inputs."""

    reading: Reading
    nodes: tuple[Node, ...]
    places: tuple[int, ...]
    form: Form


def join_producers(graph: Graph, plans: Sequence[Plan], settings: Settings) -> list[Joined]:
    """Joins what can be joined; `plans` are changed in place."""
    if settings.decide == "library" or not settings.fuse:
        return []
    positions = {node: index for index, node in enumerate(graph.nodes)}
    roots = wanted(graph)
    duplicates = representatives(graph)
    joined = []
    for plan in plans:
        node = _last_producer(plan, positions)
        if node is None:
            continue
        said: dict[str, Any] = {
            "program": plan.site.symbol,
            "kernel": plan.program.name,
            "nodes": plan.site.members,
        }
        try:
            found = _find(plan, node, duplicates)
            group = _join(roots, plans, plan, found, cast(Mode, settings.decide), positions)
        except ProducerError as error:
            name = str(node.target).removeprefix("aten.").split(".")[0].lstrip("_")
            joined.append(Joined(**said, producer=name, reason=str(error)))
            log.info("row program %s stays apart from %s: %s", plan.site.symbol, node.name, error)
            continue
        joined.append(
            Joined(**said, producer=found.reading.producer.name, key=group.key, split=group.parts.split)
        )
    return joined


def _last_producer(plan: Plan, positions: dict[Node, int]) -> Node | None:
    """The last producer, in whatever form, that a program reads, itself or a view of it."""
    found = [node for source in plan.sources if (node := _producer_of(source.node))]
    return max(found, key=lambda node: positions[node], default=None)


def _producer_of(node: Node | None) -> Node | None:
    """The node itself or what it is a view of, where that is a producer."""
    while node is not None and not _is_producer(node):
        node = node.args[0] if is_view(node) and isinstance(node.args[0], Node) else None
    return node


def _is_producer(node: Node) -> bool:
    try:
        return read_producer(node) is not None
    except ProducerError:
        return True


def _find(plan: Plan, node: Node, duplicates: Mapping[Node, Node]) -> _Found:
    """The producer at `node`, with one beside it if there is one. Raises: ProducerError."""
    reading = _read(node, duplicates)
    assert reading is not None, "it is a producer"
    places = [index for index, source in enumerate(plan.sources) if source.node is node]
    if not places:
        raise ProducerError(f"P2: the program reads a view of {node.name}, not its rows")
    place = places[0]
    for index, source in enumerate(plan.sources):
        if source.node is None or source.node is node or not _is_producer(source.node):
            continue
        other = _read(source.node, duplicates)
        both = read_side_by_side(other, reading) if other is not None else None
        if both is not None:
            return _Found(both, (source.node, node), (index, place), "pair")
    form: Form = "halves" if halves_of(plan.program, place) else "whole"
    return _Found(reading, (node,), (place,), form)


def _read(node: Node, duplicates: Mapping[Node, Node]) -> Reading | None:
    """The node as a producer, of the first of equal inputs: each layer of a model quantizes its own."""
    reading = read_producer(node)
    if reading is None:
        return None
    return replace(reading, inputs=tuple(duplicates.get(each, each) for each in reading.inputs))


def _join(
    roots: Sequence[Node],
    plans: Sequence[Plan],
    plan: Plan,
    found: _Found,
    mode: Mode,
    positions: dict[Node, int],
) -> ProducedGroup:
    """Makes the call of `plan` compute the producer too. Raises: ProducerError, with the plan as it was."""
    others = [source for index, source in enumerate(plan.sources) if index not in found.places]
    _check_order(plans, plan, found, others, positions)
    before = list(plan.sources)
    inputs = [Source(node.meta["val"], node=node) for node in found.reading.inputs]
    plan.sources = [*inputs, *others]
    try:
        alive = needed_by(roots, plans)
        group = _group(plan, found, before, any(node in alive for node in found.nodes), mode)
        fakes = [source.fake for source in plan.sources]
        with fake_mode(*fakes):
            plan.fakes = group.fake(fakes)
    except Exception:
        plan.sources = before
        raise
    if group.keeps:
        plan.redirected[len(plan.fakes) - 1] = [found.nodes[0]]
    plan.absorbed = [*found.nodes, *found.reading.within]
    plan.kernel = group
    plan.op = produced_op
    return group


def _check_order(
    plans: Sequence[Plan],
    plan: Plan,
    found: _Found,
    others: Sequence[Source],
    positions: dict[Node, int],
) -> None:
    """P3: what else the program reads does not come from the producer, and nothing is written between."""
    roots: list[Node] = []
    for source in others:
        if source.plan is not None:
            roots += [each.node for each in source.plan.sources if each.node is not None]
        elif source.node is not None:
            roots.append(source.node)
    needed = needed_by(roots, plans)
    for node in found.nodes:
        if node in needed:
            raise ProducerError(f"P3: another input of the program is computed from {node.name}")
    first = min(positions[node] for node in found.nodes)
    last = max((positions[n] for n in positions if n.name in plan.site.members), default=first)
    for node, position in positions.items():
        if first < position < last and writes_memory(node):
            raise ProducerError(
                f"P3: {node.name} writes memory between {found.nodes[0].name} and the program"
            )


def _group(plan: Plan, found: _Found, sources: Sequence[Source], keep: bool, mode: Mode) -> ProducedGroup:
    if keep and found.form != "whole":
        names = " and ".join(node.name for node in found.nodes)
        raise ProducerError(f"P4: {names} is read by other nodes, but made in halves side by side")
    _check_device(found, plan)
    if plan.bases or plan.program.segment_widths:
        raise ProducerError(f"P8: {plan.program.name} stores rows by index, or rows of several widths")
    producer = found.reading.producer
    # Tracing runs under a fake mode; stand-ins are no tensors of it.
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        stand_ins = [_stand_in(node.meta["val"]) for node in found.reading.inputs]
        producer.check(stand_ins)
        split = split_program(plan.program, found.places, keep)
        tile = TileProgram(split.head.program, found.form, producer.has_bias)
        kernels = producer.kernels(tile, stand_ins, plan.fakes[0].device.type)
    assert isinstance(plan.kernel, Kernel), "a plan is joined once"
    tail = _tail(plan.kernel, split)
    parts = Parts(producer, plan.kernel, found.places, split, tile, tail, tuple(stand_ins))
    return register(ProducedGroup(parts, kernels, mode))


def _tail(whole: Kernel, split: Split) -> Kernel | None:
    if split.tail is None:
        return None
    specs = [whole.outputs[place] for place in split.tail.outputs]
    # Only `store` of it is used: the shapes are known when it runs.
    plain = [OutputSpec(spec.dtype, (), spec.width, spec.layout, spec.zeroed) for spec in specs]
    return register(Kernel(split.tail.program, plain))


def _check_device(found: _Found, plan: Plan) -> None:
    devices = {node.meta["val"].device for node in found.reading.inputs}
    if devices != {plan.fakes[0].device}:
        listed = " and ".join(sorted(map(str, devices | {plan.fakes[0].device})))
        raise ProducerError(f"P1: the tensors of {found.nodes[0].name} and of the program are on {listed}")


def _stand_in(fake: Tensor) -> Tensor:
    """A tensor on the meta device with the sizes that were traced; 1 where tracing knows none."""
    sizes: Sequence[Any] = fake.shape
    strides: Sequence[Any] = fake.stride()
    return torch.empty_strided(
        [_hint(size) for size in sizes], [_hint(step) for step in strides], dtype=fake.dtype, device="meta"
    )


def _hint(size: Any) -> int:
    if isinstance(size, int):
        return size
    return int(size.node.hint) if size.node.has_hint() else 1
