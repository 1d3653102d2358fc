"""The models of transformers: one graph at full size, exact at a small one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed (pip install 'epiq[models]')", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "models"))
import hf
import steps

from epiq.frontend import capture
from epiq.report import report_of

# Inductor rounds, or not, by what it fuses; asked to keep every rounding, it leaves the same to compare.
EXACT = {"epiq.strict": True, "emulate_precision_casts": True}


@pytest.mark.parametrize(
    ("name", "scheme", "kind"),
    [
        ("llama-3-8b", "block", "prefill"),
        ("llama-3-8b", "per_row", "decode"),
        ("qwen3-8b", "per_row", "prefill"),
        ("qwen3-8b", "block", "decode"),
    ],
)
def test_a_layer_of_full_width_is_one_graph_and_fuses(name, scheme, kind):
    """Four inputs of linears are quantized in a layer: of both norms, of attention, of silu_mul."""
    model = hf.fp8_model(name, scheme, device="meta", num_hidden_layers=1)
    step = steps.prefill(model, 4, 2048) if kind == "prefill" else steps.decode(model, 32, 2048)
    with torch.no_grad():
        records = capture(model, **step.inputs)
    assert len(records) == 1
    report = report_of(records)
    assert len(report.quantizations) == 4
    fused = " ".join(q.fused_into for q in report.quantizations)
    assert fused.count("rms_norm") == 2
    assert "silu_mul" in fused


def test_greedy_tokens_are_those_of_the_unfused_form():
    """Fusing must not change a bit of the logits, step after step through the cache."""
    torch.manual_seed(0)
    step = steps.decode(hf.fp8_model("qwen3-8b", "per_row", **hf.NARROW), 2, 32)
    logits = {}
    for fuse in (True, False):
        torch._dynamo.reset()
        step.compile(backend="epiq", options={"epiq.fuse": fuse, **EXACT})
        logits[fuse] = steps.greedy(step, count=4)
    assert torch.isfinite(logits[True]).all()
    assert torch.equal(logits[True], logits[False])


def test_bad_names_are_said():
    with pytest.raises(ValueError, match="'llama-9' is not one of llama-3-8b, qwen3-8b"):
        hf.fp8_model("llama-9", "block")
    with pytest.raises(ValueError, match="'int3' is not one of block, per_row"):
        hf.fp8_model("qwen3-8b", "int3")
