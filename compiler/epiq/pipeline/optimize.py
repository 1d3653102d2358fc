"""Graph IR in, grouped graph IR and its row programs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epiq import ir
from epiq.pipeline.extract import extract_programs
from epiq.pipeline.program import Grouped

_SPLIT = "epiq-split-amax"
_ANNOTATE = "epiq-annotate-rows"


def optimize(
    module_text: str,
    *,
    fuse: bool = True,
    keep_out: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Grouped:
    """Names what is in an imported graph and groups it into row programs.

    Args: module_text: what the importer wrote. fuse: False makes each composite a program of its
    own, the form that fused programs are compared with. keep_out: kinds of composites that join
    no program. progress: called with each pass's name.
    Raises: epiq.errors.IRError for text that does not parse or verify, PassError when a pass fails.
    """
    module = ir.parse(module_text, filename="<graph>")
    stages = {"import": module_text}
    remarks: list[ir.Diagnostic] = []
    kept = f" keep-out={','.join(keep_out)}" if keep_out else ""
    group = f"epiq-group{{fuse={'true' if fuse else 'false'}{kept}}}"
    for stage, flags in (("raise", "epiq-raise"), ("group", f"{_SPLIT},{group},{_ANNOTATE}")):
        if progress is not None:
            progress(stage)
        remarks += ir.run_passes(module, f"builtin.module({flags})")
        stages[stage] = module.operation.get_asm(enable_debug_info=True)
    return Grouped(
        module_text=stages["group"],
        programs=extract_programs(module),
        remarks=tuple(remarks),
        stages=stages,
    )
