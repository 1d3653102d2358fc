"""From a function to the aten graph that Inductor would get, and to graph IR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule

from epiq.frontend.importer import Imported, import_graph


def trace(fn: Callable[..., Any], *args: Any, dynamic: bool = False) -> GraphModule:
    """The one aten graph of `fn(*args)`, with fake tensors in its metadata."""
    graphs: list[GraphModule] = []

    def keep(gm: GraphModule, inputs: Any) -> Any:
        graphs.append(gm)
        return make_boxed_func(gm.forward)

    backend = aot_autograd(
        fw_compiler=keep,
        inference_compiler=keep,
        decompositions=select_decomp_table(),
        keep_inference_input_mutations=True,
    )
    torch._dynamo.reset()
    with torch.no_grad(), torch._functorch.config.patch(enable_autograd_cache=False):
        torch.compile(fn, backend=backend, dynamic=dynamic, fullgraph=True)(*args)
    assert len(graphs) == 1
    return graphs[0]


def imported(fn: Callable[..., Any], *args: Any, dynamic: bool = False) -> Imported:
    gm = trace(fn, *args, dynamic=dynamic)
    return import_graph(gm.graph, gm)
