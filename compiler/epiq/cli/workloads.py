"""What `epiq bench MODEL` runs: the models of examples/models/hf.py, or a function of the user's file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from epiq.report.bench import Workload
from epiq.report.compare import Call

MODELS = ("llama-3-8b", "qwen3-8b")
SCHEMES = ("block", "per_row")
# Prefill of whole prompts, and a step of decoding.
STEPS = ("prefill:4x2048", "prefill:1x8192", "prefill:1x1024", "decode:32@2048")
_PREFILL = re.compile(r"prefill:(\d+)x(\d+)")
_DECODE = re.compile(r"decode:(\d+)@(\d+)")


def check_steps(steps: Sequence[str]) -> None:
    """Raises: ValueError for one that is neither prefill nor decode."""
    for step in steps:
        if not _PREFILL.fullmatch(step) and not _DECODE.fullmatch(step):
            raise ValueError(f"step {step!r} is neither prefill:BATCHxLENGTH nor decode:BATCH@CONTEXT")


def make_model(name: str, scheme: str, layers: int, device: str) -> Any:
    """A model of examples/models/hf.py with random weights. layers: 0 for as many as it has.

    Raises: ValueError without the packages that it needs.
    """
    import torch

    from epiq.cli.example_model import load_example

    try:
        hf = load_example("hf")
    except ModuleNotFoundError as error:
        raise ValueError(f"{name} needs {error.name}: pip install 'epiq[models]'") from error
    torch.manual_seed(0)
    changes = {"num_hidden_layers": layers} if layers else {}
    return hf.fp8_model(name, scheme, device=device, **changes)


def workload(model: Any, step: str) -> Workload:
    """One step of a model of transformers."""
    from epiq.cli.example_model import load_example

    steps = load_example("steps")
    if match := _PREFILL.fullmatch(step):
        made = steps.prefill(model, int(match[1]), int(match[2]))
    else:
        match = _DECODE.fullmatch(step)
        assert match is not None, "steps are checked"
        made = steps.decode(model, int(match[1]), int(match[2]))

    def last_logits(**inputs: Any) -> Any:
        return model(**inputs).logits[:, -1]

    return Workload(made.name, Call(last_logits, (), made.inputs, made.reset), made.num_tokens)


def workload_of_file(spec: str) -> Workload:
    """FILE.py:NAME and its inputs."""
    import torch

    from epiq.cli.user_code import load_user_code

    code = load_user_code(spec)
    tensors = [x for x in code.inputs if isinstance(x, torch.Tensor)]
    tokens = tensors[0].numel() // tensors[0].shape[-1] if tensors and tensors[0].dim() else 1
    return Workload(code.name, Call(code.function, code.inputs), tokens)
