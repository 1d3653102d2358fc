"""A function with its row programs in it, and nothing compiled around them: torch runs the rest."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule

from epiq.config import Settings
from epiq.frontend.cse import is_view
from epiq.frontend.record import CompilationRecord, new_record
from epiq.frontend.rewrite import rewrite_graph
from epiq.runtime.prepare import prepare_kernel


@dataclass
class Rewritten:
    """The results of `fn(*args)`, its rewritten graph, and what the rewriting said.

    compiled: `fn`, for more calls.
    """

    results: Any = None
    compiled: Callable[..., Any] = field(default=lambda *args: None)
    records: list[CompilationRecord] = field(default_factory=list)
    graphs: list[GraphModule] = field(default_factory=list)

    @property
    def record(self) -> CompilationRecord:
        assert len(self.records) == 1
        return self.records[0]

    @property
    def remarks(self) -> list[str]:
        """The remarks on quantizations: fused into what, or why not."""
        grouped = self.record.grouped
        return [r.message for r in grouped.remarks if "fused" in r.message] if grouped is not None else []

    @property
    def named(self) -> list[str]:
        """The remarks on what was given a name, or none."""
        grouped = self.record.grouped
        return [r.message for r in grouped.remarks if "named" in r.message] if grouped is not None else []

    @property
    def calls(self) -> list[str]:
        """The ops of the graph that compute something."""
        nodes = [node for gm in self.graphs for node in gm.graph.nodes if node.op == "call_function"]
        return [str(n.target) for n in nodes if n.target is not operator.getitem and not is_view(n)]


def run_rewritten(
    fn: Callable[..., Any],
    *args: Any,
    fuse: bool = True,
    decide: str = "measure",
    strict: bool = True,
    verify: bool = False,
) -> Rewritten:
    """Traces `fn` as the backend does, rewrites its graph, and runs that with torch."""
    found = Rewritten()
    settings = Settings(fuse=fuse, strict=strict, decide=decide, verify=verify)

    def compiler(gm: GraphModule, inputs: Any) -> Any:
        record = new_record()
        rewrite_graph(gm.graph, settings, prepare_kernel(settings), record)
        gm.recompile()
        found.records.append(record)
        found.graphs.append(gm)
        return make_boxed_func(gm.forward)

    backend = aot_autograd(
        fw_compiler=compiler,
        inference_compiler=compiler,
        decompositions=select_decomp_table(),
        keep_inference_input_mutations=True,
    )
    torch._dynamo.reset()
    with torch.no_grad(), torch._functorch.config.patch(enable_autograd_cache=False):
        found.compiled = torch.compile(fn, backend=backend, dynamic=None, fullgraph=True)
        found.results = found.compiled(*args)
    return found
