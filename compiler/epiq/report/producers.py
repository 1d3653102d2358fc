"""What became of row programs whose input a matrix product makes, for reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from epiq.report.model import ProducerReport, Quantization

if TYPE_CHECKING:
    from epiq.frontend.produced import Joined

# What epiq-group says of any op outside of row programs; a rule of epiq.producers says more.
_NO_ROW_OP = "F2"
_MEASURED = "where that is measured to be faster than the two apart"


def with_producers(
    quantizations: Iterable[Quantization], joined: Iterable[Joined]
) -> tuple[Quantization, ...]:
    """The quantizations, with what is said of those whose row program a product's kernel can compute."""
    by_node = {node: each for each in joined for node in each.nodes}
    return tuple(_with_producer(each, by_node.get(each.node)) for each in quantizations)


def producer_report(joined: Joined) -> ProducerReport:
    """One row program and the product before it."""
    if not joined.key:
        rule, _, reason = joined.reason.partition(": ")
        return ProducerReport(joined.kernel, joined.producer, "", rule, reason)
    computed = "all" if joined.split is None or joined.split.tail is None else "head"
    return ProducerReport(joined.kernel, joined.producer, computed, decisions=_decisions(joined.key))


def _with_producer(found: Quantization, joined: Joined | None) -> Quantization:
    if joined is None or found.rule not in ("", _NO_ROW_OP):
        return found
    if not joined.key:
        rule, _, reason = joined.reason.partition(": ")
        return replace(found, rule=rule, reason=reason)
    if joined.split is not None and joined.split.tail is not None:
        return replace(found, rule="", reason=f"what comes before it can be computed by {joined.producer}")
    into = " + ".join(filter(None, (found.fused_into, joined.producer)))
    return replace(found, fused_into=into, rule="", reason=_MEASURED)


def _decisions(key: str) -> tuple[str, ...]:
    import torch

    from epiq.runtime.decide import describe
    from epiq.runtime.produced import ProducedGroup
    from epiq.runtime.registry import lookup

    group = lookup(key)
    assert isinstance(group, ProducedGroup), "the key of a group"
    made = tuple(describe(decision).removeprefix(f"{key}, ") for decision in group.decisions)
    if made:
        return made
    return ("measured on the first call",) if torch.cuda.is_available() else ("not measured: no GPU",)
