"""What a compilation leaves behind for those who look: IR in a folder, in torch's trace, lines in its logs.

`TORCH_LOGS="+epiq"` prints the remarks and groups of each graph, `TORCH_LOGS="epiq"` one line a graph.
`TORCH_TRACE=dir` holds the IR after each pass and the report, which `tlparse dir` shows beside Inductor's
code; `EPIQ_DUMP=dir` writes the same to files.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from epiq.runtime.notices import warn_once

if TYPE_CHECKING:
    from epiq.frontend import CompilationRecord

log = logging.getLogger("epiq")


def publish(record: CompilationRecord, dump: str = "") -> None:
    """Logs and traces a graph that is done, and writes its files to folder `dump` unless that is "".

    A folder that cannot be written is warned about; the model is compiled all the same.
    """
    _log(record)
    if not dump and not _is_traced():
        return
    artifacts = dict(artifacts_of(record))
    for name, text in artifacts.items():
        _trace(f"epiq_{name}", text)
    if dump:
        try:
            write(artifacts, _new_folder(Path(dump), record.name))
        except OSError as error:
            warn_once(f"epiq cannot dump to {dump}: {error.strerror}")


def artifacts_of(record: CompilationRecord) -> Iterator[tuple[str, str]]:
    """(file name, text) of the IR after each pass, then of each different kernel, then the report."""
    from epiq import pipeline
    from epiq.codegen import SUPPORTED, Target
    from epiq.report.build import report_of

    stages = record.grouped.stages if record.grouped is not None else {}
    for index, (stage, text) in enumerate(stages.items(), 1):
        yield f"{index}-{stage}.mlir", text
    programs = record.grouped.programs if record.grouped is not None else ()
    # No rows are known where planning ended in an error; no program is used then.
    rows = {program.symbol: rows for program, rows in zip(programs, record.num_rows, strict=False)}
    target = Target.current() or Target(SUPPORTED[0])
    lowered: set[str] = set()
    for program in record.used:
        if program.ir not in lowered:
            lowered.add(program.ir)
            # In the schedule that it starts with; measurements may have chosen another.
            schedule = pipeline.default_schedule(program, rows[program.symbol], target)
            text = pipeline.lower(program, schedule, target=target)
            yield f"{len(stages) + 1}-{program.symbol}.ttir", text
    report = report_of([record])
    yield "report.txt", str(report)
    yield "report.json", json.dumps(report.to_dict(), indent=1)


def write(artifacts: dict[str, str], folder: Path) -> None:
    """One file an artifact. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in artifacts.items():
        (folder / name).write_text(text + "\n")


def _log(record: CompilationRecord) -> None:
    if record.left_alone:
        log.info("%s: left to Inductor: %s", record.name, record.left_alone)
    if record.grouped is None:
        return
    log.info(
        "%s on %s: %d nodes, %d fused kernels, %d refused",
        record.name, record.device or "no device", record.nodes_before, len(record.used), len(record.refused),
    )  # fmt: skip
    if not log.isEnabledFor(logging.DEBUG):
        return
    for remark in record.grouped.remarks:
        log.debug("%s: %s: %s", record.name, remark.location, remark.message)
    for program in record.used:
        log.debug("%s: kernel %s: %s", record.name, program.symbol, ", ".join(p.name for p in program.parts))


def _is_traced() -> bool:
    import torch._logging._internal as internal

    return bool(internal.trace_log.handlers)


def _trace(name: str, text: str) -> None:
    from torch._logging._internal import trace_structured

    trace_structured(
        "artifact",
        metadata_fn=lambda: {"name": name, "encoding": "string"},
        payload_fn=lambda: text,
        expect_trace_id=False,
    )


def _new_folder(parent: Path, name: str) -> Path:
    """`parent/graph-0`, or the next number of which there is no folder: processes may share one."""
    base = name.replace(" ", "-")
    folder, number = parent / base, 1
    while folder.exists():
        number += 1
        folder = parent / f"{base}.{number}"
    return folder
