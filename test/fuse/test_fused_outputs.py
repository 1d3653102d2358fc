"""Epilogues of two outputs, and epilogues that return the largest of all values."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import user_kernels as kernels
from test_fused_kernels import K, M, N, cdiv, operands, results
from torch import Tensor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP128, FP8_PER_TENSOR, FP8_STATIC, quantize

BLOCKS = {"BLOCK_M": 32, "BLOCK_N": 128, "BLOCK_K": 32}
GRID = (cdiv(M, 32), cdiv(N, 128))


def relu_mul(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    return quantize(F.relu(gate) * up, FP8_GROUP128)


def gate_and_up(padding: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[object, ...], Tensor, Tensor]:
    """Operands, sizes and strides of kernels.gate_and_up, and its outputs."""
    x, w, _ = operands(M, 2 * N)
    gate = torch.zeros(M, N + padding, dtype=torch.bfloat16)[:, :N]
    up = torch.zeros(M, N, dtype=torch.bfloat16)
    args = (M, N, K, gate.stride(0), up.stride(0))
    run_kernel(kernels.gate_and_up, GRID, x, w, gate, up, *args, **BLOCKS)
    return (x, w), args, gate, up


@pytest.mark.parametrize("outputs", [("gate_ptr", "up_ptr"), ["up_ptr", "gate_ptr"]], ids=["", "swapped"])
def test_both_accumulators_in_one_epilogue(outputs):
    inputs, args, gate, up = gate_and_up()
    epilogue = epiq.Epilogue(relu_mul if outputs[0] == "gate_ptr" else lambda up, gate: relu_mul(gate, up))
    fused = epiq.fuse(kernels.gate_and_up, output=outputs, epilogue=epilogue)
    q, scale = results(M, N, FP8_GROUP128)
    fused[GRID](*inputs, None, None, *args, q=q, scale=scale, **BLOCKS)
    expected_q, expected_scale = relu_mul(gate, up)
    assert same_bits(q, expected_q)
    assert same_bits(scale, expected_scale)
    assert fused.ir().count("tt.store") == 2


def test_kept_outputs_of_other_strides_and_another_input():
    inputs, args, gate, up = gate_and_up(padding=16)

    def fn(gate: Tensor, up: Tensor, bias: Tensor) -> Tensor:
        return F.relu(gate + bias) * up

    bias, out = torch.randn(N).bfloat16(), torch.zeros(M, N, dtype=torch.bfloat16)
    kept = torch.zeros(M, N + 16, dtype=torch.bfloat16)[:, :N], torch.zeros(M, N, dtype=torch.bfloat16)
    fused = epiq.fuse(kernels.gate_and_up, ("gate_ptr", "up_ptr"), epiq.Epilogue(fn), keep_output=True)
    fused[GRID](*inputs, *kept, *args, out=out, bias=bias, **BLOCKS)
    assert same_bits(out, fn(gate, up, bias))
    assert same_bits(kept[0], gate)
    assert same_bits(kept[1], up)


def test_wrong_outputs():
    for epilogue in (epiq.Quantize(FP8_GROUP128), epiq.Quantize(FP8_STATIC), epiq.Epilogue(F.relu)):
        with pytest.raises(TypeError, match="the epilogue of 2 outputs is a function of so many tensors"):
            epiq.fuse(kernels.gate_and_up, ("gate_ptr", "up_ptr"), epilogue)
    with pytest.raises(ValueError, match="outputs repeat: up_ptr, up_ptr"):
        epiq.fuse(kernels.gate_and_up, ("up_ptr", "up_ptr"), epiq.Epilogue(relu_mul))
    with pytest.raises(TypeError, match="output must be the name of an argument, or several, got dict"):
        epiq.fuse(kernels.gate_and_up, {}, epiq.Epilogue(relu_mul))
    fused = epiq.fuse(kernels.gate_and_up, ("gate_ptr", "up_ptr"), epiq.Epilogue(relu_mul))
    with pytest.raises(TypeError, match="output must be the name of one result of"):
        epiq.fuse(fused, ("q", "scale"), epiq.Epilogue(relu_mul))


def test_the_largest_of_all_values():
    """What a scale of the whole tensor needs, beside the values: rows beyond the last do not count."""

    def fn(y: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        z = y.float() + bias
        return z.bfloat16(), z.abs().amax()

    a, b, c = operands()
    bias, tile = torch.full((N,), 1000.0), {**BLOCKS, "GROUP_M": 2}
    b[:, 17] = 100.0
    args = (M, N, K, K, 1, N, 1, N, 1)
    run_kernel(kernels.matmul_grouped, (9,), a, b, c, *args, **tile)
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Epilogue(fn, outputs=("out", "amax")))
    for amax in (torch.tensor(5e9), torch.tensor([7e9])):
        out = torch.zeros_like(c)
        fused[(9,)](a, b, None, *args, bias=bias, out=out, amax=amax, **tile)
        expected, largest = fn(c, bias)
        assert same_bits(out, expected)
        assert amax.item() == largest.item()
    scale = amax.reshape(()) / FP8_PER_TENSOR.element_max
    assert quantize(out, FP8_STATIC, scale)[0].shape == (M, N)
    with pytest.raises(ValueError, match=r"amax must have one value, got shape \(72,\)"):
        fused[(9,)](a, b, None, *args, bias=bias, out=out, amax=torch.zeros(M), **tile)
