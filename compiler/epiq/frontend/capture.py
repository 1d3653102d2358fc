"""Looks at what the backend would do with a function, without compiling or launching anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func  # type: ignore[attr-defined]
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule

from epiq.config import Settings, resolve
from epiq.frontend.record import CompilationRecord, new_record, recording
from epiq.frontend.rewrite import rewrite_graph
from epiq.frontend.unwrap import UnwrapError
from epiq.runtime.kernel import Kernel
from epiq.runtime.notices import warn_once


def capture(
    fn: Callable[..., Any], *args: Any, settings: Settings | None = None, **kwargs: Any
) -> list[CompilationRecord]:
    """Traces `fn(*args, **kwargs)` and returns what became of each of its graphs.

    fn: a function or module. args: real or fake tensors, on any device; fakes cost no memory and
    need no GPU. The traced graphs run as torch runs them, so fake inputs give fake results. Nothing
    is compiled by Triton or Inductor.
    Raises: what `fn` raises, and errors in our own passes.
    """
    settings = settings or resolve({"dry_run": True, "strict": True, "target": "", "fail_on_unfused": False})

    def compiler(gm: GraphModule, inputs: Sequence[Any]) -> Any:
        record = new_record()
        try:
            rewrite_graph(gm.graph, settings, check_lowering, record)
        except UnwrapError:
            raise
        except Exception as error:
            if settings.strict:
                raise
            record.left_alone = f"{type(error).__name__}: {error}"
            warn_once(f"epiq cannot take a graph: {record.left_alone}")
        return make_boxed_func(_among_fakes(gm))

    backend = aot_autograd(
        fw_compiler=compiler,
        inference_compiler=compiler,
        decompositions=select_decomp_table(),
        keep_inference_input_mutations=True,
    )
    with recording() as records, torch.no_grad(), torch._functorch.config.patch(enable_autograd_cache=False):
        torch._dynamo.reset()
        try:
            torch.compile(fn, backend=backend)(*args, **kwargs)
        finally:
            torch._dynamo.reset()
    return records


def _among_fakes(gm: GraphModule) -> Callable[..., Any]:
    """`gm` as a function that, of fake inputs, makes its own tensors fake as well."""

    def forward(*args: Any) -> Any:
        mode = torch._guards.detect_fake_mode(list(args))
        with mode if mode is not None else nullcontext():
            return gm.forward(*args)

    return forward


def check_lowering(kernel: Kernel, device: torch.device, num_rows: int) -> None:
    """Raises what lowering the kernel's program raises; the device need not exist here."""
    from epiq import pipeline

    pipeline.lower(kernel.program, pipeline.Schedule())
