"""From what a compilation recorded to a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from epiq.report.model import GraphReport, KernelReport, Quantization, Report
from epiq.report.producers import producer_report, with_producers

if TYPE_CHECKING:
    from epiq.frontend import CompilationRecord
    from epiq.ir import Diagnostic
    from epiq.pipeline import RowProgram

# What epiq-group says of each quantization, once:
#   fused: quantize(e4m3 group 128) into rms_norm + add
#   fused: quantize(e4m3 tensor) amax into rms_norm
#   fused: cast(e4m3) into mul; not further: L7: reason
#   not fused: quantize(e4m3 group 128): F2: reason
_WHY = r"(?:(?P<rule>[A-Z]\d+): )?(?P<reason>.+)"
_FUSED = re.compile(
    r"fused: (?P<what>.+?)(?P<amax> amax)? into (?P<into>[^;]+)(?:; not further: " + _WHY + ")?"
)
_NOT_FUSED = re.compile(r"not fused: (?P<what>\w+(?:\(.*?\))?): " + _WHY)
_NODE = re.compile(r'loc\("([^"]+)"')
_SOURCE = re.compile(r'"([^"]+\.py)":(\d+)')


def explain(function: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Report:
    """Traces `function` and says what epiq makes of it; nothing is compiled or launched by us.

    Args: function: a function or an nn.Module. inputs: what it takes; fake tensors cost no memory.
    Raises: what tracing raises, epiq.errors.PassError when a pass fails.
    """
    from epiq.frontend import capture

    return report_of(capture(function, *inputs, **kwargs))


def report_of(records: Iterable[CompilationRecord]) -> Report:
    """The report on graphs that were captured or compiled."""
    return Report(tuple(_graph(record) for record in records))


def _graph(record: CompilationRecord) -> GraphReport:
    if record.grouped is None:
        return GraphReport(record.name, (), (), left_alone=record.left_alone, custom_ops=record.still_custom)
    used = {program.symbol for program in record.used}
    programs = zip(record.grouped.programs, record.num_rows, strict=True)
    return GraphReport(
        name=record.name,
        quantizations=with_producers(quantizations_of(record.grouped.remarks, record.modules), record.joined),
        kernels=tuple(_kernel(program, rows) for program, rows in programs if program.symbol in used),
        refusals=record.refused,
        left_alone=record.left_alone,
        custom_ops=record.still_custom,
        producers=tuple(producer_report(joined) for joined in record.joined),
    )


def quantizations_of(
    remarks: Iterable[Diagnostic], modules: Mapping[str, str] = MappingProxyType({})
) -> Iterable[Quantization]:
    """One for each remark that tells what became of a quantization. modules: of nodes, by name."""
    for remark in remarks:
        node = node_name(remark.location)
        places = {
            "node": node,
            "where": source_line(remark.location),
            "source": source_line(remark.location, whole_path=True),
            "module": modules.get(node, ""),
        }
        if match := _FUSED.fullmatch(remark.message):
            into = match["into"] + (" (amax)" if match["amax"] else "")
            rule, reason = match["rule"] or "", match["reason"] or ""
            yield Quantization(match["what"], fused_into=into, rule=rule, reason=reason, **places)
        elif match := _NOT_FUSED.fullmatch(remark.message):
            rule, reason = match["rule"] or "", match["reason"]
            yield Quantization(match["what"], fused_into="", rule=rule, reason=reason, **places)


def source_line(location: str, whole_path: bool = False) -> str:
    """`loc("add_3"("/home/u/model.py":12:3))` -> "model.py:12"; "" without a Python line."""
    match = _SOURCE.search(location)
    if match is None:
        return ""
    return f"{match[1] if whole_path else Path(match[1]).name}:{match[2]}"


def node_name(location: str) -> str:
    """`loc("add_3"("/home/u/model.py":12:3))` -> "add_3"; "" without a name."""
    match = _NODE.match(location)
    return match[1].removesuffix(".aux") if match else ""


def _kernel(program: RowProgram, num_rows: int) -> KernelReport:
    return KernelReport(
        name=program.name,
        parts=tuple(part.name for part in program.parts),
        num_rows=num_rows,
        num_bytes=program.num_bytes(num_rows),
        unfused_bytes=program.unfused_bytes(num_rows),
    )
