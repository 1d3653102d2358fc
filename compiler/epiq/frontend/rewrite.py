"""The pass over an FX graph: import, group, plan, and only then change it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph

from epiq import pipeline
from epiq.config import Settings
from epiq.errors import EpiqError
from epiq.frontend.expand import Expansions
from epiq.frontend.export import export_plans
from epiq.frontend.importer import import_graph
from epiq.frontend.locations import module_path
from epiq.frontend.plan import Plan, Planner, Prepare, RefusedError
from epiq.frontend.record import CompilationRecord
from epiq.frontend.sites import read_sites
from epiq.frontend.types import QUANTIZED_TYPES, static_shape
from epiq.frontend.verify import UnverifiedError, unfused_part, unfused_settings, watch
from epiq.runtime.kernel import Kernel
from epiq.runtime.shapes import known_size

log = logging.getLogger("epiq")

_INDEXING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.embedding.default,
)
_CASTS = (torch.ops.prims.convert_element_type.default, torch.ops.aten._to_copy.default)


class UnfusedError(EpiqError):
    """A quantization was not fused although the caller asked for an error in that case."""


def rewrite_graph(graph: Graph, settings: Settings, prepare: Prepare, record: CompilationRecord) -> None:
    """Puts the row programs found in `graph` into it as calls, and files what happened in `record`.

    With `settings.dry_run` the graph stays as it is. An error leaves it as it was.
    """
    # Brings the kernels of products along, which epiq.fuse makes, which itself imports graphs.
    from epiq.frontend.produced import join_producers

    record.nodes_before = record.nodes_after = _count(graph)
    expansions = Expansions(graph)
    try:
        if settings.fuse:
            expansions.expand_all()
        plans = _plan(graph, settings, prepare, record, expansions)
        record.joined = tuple(join_producers(graph, plans, settings))
        _check_all_fused(settings, record)
    except Exception:
        expansions.undo(expansions.kept)
        raise
    record.unwrapped = tuple(str(expansion.call.unwrap.op) for expansion in expansions.kept)
    record.still_custom = tuple(expansions.left)
    if not plans or settings.dry_run:
        expansions.undo(expansions.kept)
    else:
        expansions.settle()
        if settings.verify:
            _verify(graph, plans, settings, prepare)
        export_plans(graph, plans)
        record.nodes_after = _count(graph)


def _verify(graph: Graph, plans: list[Plan], settings: Settings, prepare: Prepare) -> None:
    """Gives each group that is a row program alone its unfused form to compare itself with."""
    for plan in plans:
        try:
            part = unfused_part(graph, plan)
        except UnverifiedError as error:
            log.info("epiq.verify: %s is not verified: %s", plan.program.name, error)
            continue
        rewrite_graph(part.gm.graph, unfused_settings(settings), prepare, CompilationRecord("unfused"))
        watch(plan, part, raises=settings.strict)


def _plan(
    graph: Graph, settings: Settings, prepare: Prepare, record: CompilationRecord, expansions: Expansions
) -> list[Plan]:
    """The programs that replace parts of the graph; custom ops that these do not hold are put back."""
    # What comes back changes the programs: kernels are made for those that stay.
    while expansions.kept:
        if not expansions.put_back_unfused(_plan_once(graph, settings, _prepare_nothing, record)):
            break
    plans = _plan_once(graph, settings, prepare, record)
    while expansions.put_back_unfused(plans):
        plans = _plan_once(graph, settings, prepare, record)
    return plans


def _prepare_nothing(kernel: Kernel, device: torch.device, num_rows: int) -> None:
    """Stands for a kernel that could be made."""


def _plan_once(graph: Graph, settings: Settings, prepare: Prepare, record: CompilationRecord) -> list[Plan]:
    record.left_alone = ""
    if not _has_quantization(graph) and not _stores_rows(graph):
        record.left_alone = "no value of the graph is quantized"
        return []
    record.device = _device(graph)
    _settle_row_widths(graph)
    _settle_memory(graph)
    imported = import_graph(graph, graph.owning_module)
    record.opaque = tuple(imported.opaque)
    record.modules = {node.name: path for node in graph.nodes if (path := module_path(node))}
    record.grouped = grouped = pipeline.optimize(
        imported.text, fuse=settings.fuse, keep_out=settings.kinds_kept_out
    )
    programs = {program.symbol: program for program in grouped.programs}
    planner = Planner(imported, graph.nodes)
    plans: list[Plan] = []
    refused: list[tuple[str, str]] = []
    for site in read_sites(grouped.module_text):
        try:
            plans.append(planner.plan(site, programs[site.symbol], prepare))
        except RefusedError as error:
            refused.append((site.symbol, str(error)))
            log.info("row program %s stays with Inductor: %s", site.symbol, error)
    by_symbol = {plan.site.symbol: plan for plan in plans}
    record.refused = tuple(refused)
    record.num_rows = tuple(
        by_symbol[p.symbol].num_rows if p.symbol in by_symbol else p.num_rows or 1 for p in grouped.programs
    )
    record.kernels = tuple(
        by_symbol[p.symbol].kernel.key if p.symbol in by_symbol else "" for p in grouped.programs
    )
    if not plans:
        record.left_alone = "no group of the graph becomes a kernel"
    return plans


def _has_quantization(graph: Graph) -> bool:
    """Whether a quantized value with elements is made in the graph: without one there is nothing to group."""
    made = [node.meta.get("val") for node in graph.nodes if node.op == "call_function"]
    return any(
        isinstance(fake, Tensor) and fake.dtype in QUANTIZED_TYPES and 0 not in static_shape(fake.shape)
        for fake in made
    )


def _stores_rows(graph: Graph) -> bool:
    """Whether rows are stored by index, as in a cache of keys and values."""
    return any(node.target is torch.ops.aten.index_put.default for node in graph.nodes)


def _settle_memory(graph: Graph) -> None:
    """Makes the sizes of memory that rows are stored in or read from by index numbers, by guards.

    Such a cache or table is allocated once. A size that counts tokens as well is left open.
    """
    for node in graph.nodes:
        if node.target not in _INDEXING:
            continue
        memory, index = node.args[0].meta.get("val"), node.args[1]
        indices = [
            each for each in (index if isinstance(index, list | tuple) else [index]) if each is not None
        ]
        open_sizes = {
            symbol
            for each in indices
            for size in each.meta["val"].shape
            if known_size(size) is None
            for symbol in size.node.expr.free_symbols
        }
        sizes: tuple[Any, ...] = tuple(memory.shape)
        for size in sizes:
            if known_size(size) is None and not size.node.expr.free_symbols & open_sizes:
                int(size)


def _settle_row_widths(graph: Graph) -> None:
    """Makes the widths of quantized rows numbers, by a guard: kernels are made for one width.

    `dynamic=True` leaves every size of a plain tensor open. Another width compiles again.
    """
    fakes = [fake for fake in (node.meta.get("val") for node in graph.nodes) if isinstance(fake, Tensor)]
    # Casts make values: what is moved later may have its tokens last, as column-major scales do.
    casts = [node.meta.get("val") for node in graph.nodes if node.target in _CASTS]
    widths: list[Any] = [
        fake.shape[-1]
        for fake in casts
        if isinstance(fake, Tensor) and fake.dtype in QUANTIZED_TYPES and fake.dim() >= 2
    ]
    symbols = {s for width in widths if known_size(width) is None for s in width.node.expr.free_symbols}
    for fake in fakes if symbols else []:
        sizes: tuple[Any, ...] = tuple(fake.shape)
        for size in sizes:
            if known_size(size) is None and size.node.expr in symbols:
                int(size)


def _device(graph: Graph) -> str:
    fakes = [node.meta.get("val") for node in graph.nodes if node.op == "placeholder"]
    devices = {str(fake.device) for fake in fakes if isinstance(fake, Tensor) and fake.dim() > 0}
    return ", ".join(sorted(devices))


def _check_all_fused(settings: Settings, record: CompilationRecord) -> None:
    if not settings.fail_on_unfused or record.grouped is None:
        return
    joined = {node for each in record.joined if each.key for node in each.nodes}
    unfused = [
        f"{remark.location}: {remark.message}"
        for remark in record.grouped.remarks
        if "not fused" in remark.message and not any(f'loc("{node}"' in remark.location for node in joined)
    ]
    unfused += [f"{symbol}: {reason}" for symbol, reason in record.refused]
    if unfused:
        raise UnfusedError("a quantization is not fused:\n" + "\n".join(unfused))


def _count(graph: Graph) -> int:
    return sum(node.op == "call_function" for node in graph.nodes)
