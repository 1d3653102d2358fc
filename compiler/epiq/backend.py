"""`torch.compile(model, backend="epiq")`: Inductor, with quantization fused into row programs.

The graph that AOTAutograd made is rewritten before Inductor's own passes; whatever is not part of
a fused group is compiled as with `backend="inductor"`, with the same modes and options.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from epiq.config import PREFIX, Settings, split_options

log = logging.getLogger("epiq")

_MIN_TORCH = (2, 11)


def epiq(
    gm: GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles a Dynamo graph.

    Args: mode, options: as for Inductor; options named `epiq.*` are ours (epiq.config.Settings).
    Raises: ValueError or TypeError for an option or mode that does not exist.
    """
    from torch._inductor.compile_fx import compile_fx

    from epiq.frontend.graph_pass import FuseQuantization
    from epiq.runtime.notices import warn_once
    from epiq.runtime.prepare import device_refusal, prepare_kernel

    _check_torch()
    settings, others = split_options(options)
    patches = inductor_patches(mode, others)
    reason = _training_reason(example_inputs) or device_refusal(example_inputs)
    if reason:
        warn_once(f"epiq leaves a model to Inductor: {reason}")
        return _call(compile_fx, gm, example_inputs, patches)
    first = patches.get("joint_custom_pre_pass", torch._inductor.config.joint_custom_pre_pass)
    patches["joint_custom_pre_pass"] = FuseQuantization(
        settings, prepare_kernel(settings), run_in_turn(first)
    )
    # A hit in AOTAutograd's cache would skip the pass, and the kernels live in this process.
    with torch._functorch.config.patch(enable_autograd_cache=False):
        return _call(compile_fx, gm, example_inputs, patches)


def _call(
    compile_fx: Callable[..., Any], gm: GraphModule, inputs: Sequence[Any], patches: dict[str, Any]
) -> Callable[..., Any]:
    compiled: Callable[..., Any] = compile_fx(gm, inputs, config_patches=patches or None)
    return compiled


def inductor_patches(mode: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that `torch.compile(mode=.., options=..)` gives Inductor.

    Raises: ValueError for a mode or option that Inductor does not have.
    """
    try:
        wrapper = torch._TorchCompileInductorWrapper(mode, dict(options), None)  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError) as error:
        said = str(error).split(", known options are")[0]
        raise ValueError(f"{said} (options of this backend start with {PREFIX!r})") from error
    return dict(wrapper.config)


def run_in_turn(passes: Any) -> Callable[[torch.fx.Graph], None] | None:
    """One callable for what the user set as `joint_custom_pre_pass`: nothing, a pass, or several."""
    if passes is None or passes == [] or passes == ():
        return None
    listed = list(passes) if isinstance(passes, list | tuple) else [passes]

    def run(graph: torch.fx.Graph) -> None:
        for each in listed:
            each(graph)

    return run


def _training_reason(example_inputs: Sequence[Any]) -> str:
    if not torch.is_grad_enabled():
        return ""
    if any(isinstance(x, torch.Tensor) and x.requires_grad for x in example_inputs):
        return "gradients are needed (call it under torch.no_grad() or torch.inference_mode())"
    return ""


def _check_torch() -> None:
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if found < _MIN_TORCH:
        raise RuntimeError(f"torch {torch.__version__} is older than {_MIN_TORCH[0]}.{_MIN_TORCH[1]}")


__all__ = ["Settings", "epiq", "inductor_patches"]
