"""The demo: its checks notice what they must, and its layer is fused as it says."""

from __future__ import annotations

import pytest
import torch

from epiq.cli import demo
from epiq.cli.demo_check import compare_bits, compare_quantized
from epiq.cli.example_model import load_example
from epiq.report import report_of

llama = load_example()


@pytest.fixture
def outputs():
    """h, q, scale of 16 x 256 as eager gives them."""
    torch.manual_seed(0)
    h = torch.randn(16, 256).to(torch.bfloat16)
    return h, *llama.quantize_activations(h)


def failed(actual, expected) -> list[str]:
    return [
        check.what.split(",")[0] for check in compare_quantized("here", actual, expected) if not check.passed
    ]


def test_equal_outputs_pass(outputs):
    assert failed(outputs, outputs) == []


def test_flipped_bytes_are_noticed(outputs):
    h, q, scale = outputs
    off = q.clone()
    off.view(torch.uint8)[:, :2] ^= 1
    assert failed((h, off, scale), outputs) == ["FP8 values"]


@pytest.mark.parametrize("factor", [1.0 + 2.0**-6, float("nan")])
def test_wrong_scales_are_noticed(outputs, factor):
    h, q, scale = outputs
    off = scale.clone()
    off[3, 1] *= factor
    assert failed((h, q, off), outputs) == ["scales"]


def test_a_changed_residual_is_noticed(outputs):
    h, q, scale = outputs
    assert failed((h + 1, q, scale), outputs) == ["h"]


def test_wrong_strides_are_noticed(outputs):
    h, q, scale = outputs
    assert failed((h, q, scale.contiguous()), outputs) == ["scale strides"]


def test_one_bit_that_fusing_changes_is_noticed(outputs):
    assert compare_bits("here", outputs, outputs).passed
    h, q, scale = outputs
    off = scale.clone()
    off.view(torch.int32)[0, 0] ^= 1
    check = compare_bits("here", (h, q, off), outputs)
    assert not check.passed
    assert check.measured.startswith("1 of ")


def test_the_layer_at_full_width():
    """All but the quantization behind attention share a kernel with what makes the value."""
    report = report_of(demo.trace_layer())
    assert [q.fused_into for q in report.quantizations] == [
        "rms_norm",
        "",
        "rms_norm + add",
        "silu_mul + scaled_mm",
    ]
    behind_attention = report.quantizations[1]
    assert behind_attention.rule.startswith("F")
    assert all(q.where.startswith("llama.py:") for q in report.quantizations)
    assert report.kernels_after == 4 < report.kernels_before
    assert report.bytes_after < 0.6 * report.bytes_before
