"""Wrong arguments, and kernels that a rule refuses."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
import user_kernels as kernels
from test_fused_kernels import TILE, K, M, N, operands, results
from triton.tools.tensor_descriptor import TensorDescriptor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP128, FP8_PER_TENSOR, FP8_STATIC

ARGS = (M, N, K, K, 1, N, 1, N, 1)
QUANTIZE = epiq.Quantize(FP8_GROUP128)


@triton.jit
def split_k(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    tl.atomic_add(out_ptr + tl.program_id(0) * n + cols, tl.load(x_ptr + tl.program_id(1) * n + cols))


@triton.jit
def accumulate(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    for i in range(n):
        tl.store(out_ptr + tl.program_id(0) * n + cols, tl.load(x_ptr + i * n + cols))


@triton.jit
def read_back(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    ptrs = out_ptr + tl.program_id(0) * n + cols
    tl.store(ptrs, tl.load(x_ptr + cols) + tl.load(ptrs))


@triton.jit
def shifted(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.program_id(1) * 16 + tl.arange(0, BLOCK)
    tl.store(out_ptr + tl.program_id(0) * n + cols, tl.load(x_ptr + cols))


@triton.jit
def twice(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    ptrs = out_ptr + tl.program_id(0) * n + cols
    tl.store(ptrs, tl.load(x_ptr + cols))
    tl.store(ptrs + BLOCK // 2, tl.load(x_ptr + cols))  # halfway over the first


@triton.jit
def scattered(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    rows, cols = tl.arange(0, 4), tl.arange(0, BLOCK)
    at = (rows[:, None] * BLOCK + cols[None, :]) ^ 5
    tl.store(out_ptr + at, tl.load(x_ptr + at))


@triton.jit
def chosen(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    ptr = out_ptr if n > 512 else x_ptr
    tl.store(ptr + cols, tl.load(x_ptr + cols))  # which one is not known


@triton.jit
def triangle(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    rows, cols = tl.arange(0, 4), tl.arange(0, BLOCK)
    at = rows[:, None] * n + cols[None, :]
    tl.store(out_ptr + at, tl.load(x_ptr + at), mask=rows[:, None] >= cols[None, :])


@triton.jit
def unused(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, BLOCK), 0.0)


@pytest.mark.parametrize(
    ("kernel", "rule", "line"),
    [(split_k, "E2", "atomic_add"), (accumulate, "E4", "tl.store"), (read_back, "E2", "tl.load(ptrs)"),
     (shifted, "E5", "tl.store"), (twice, "E4", "halfway over"), (scattered, "E3", "tl.store"),
     (chosen, "E2", "ptr = out_ptr if"), (triangle, "E7", "tl.store"), (unused, "E2", "def unused")],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_refused_by_rule_and_line(kernel, rule, line):
    x = torch.randn(4, 256).bfloat16()
    q, scale = results(4, 256, FP8_GROUP128)
    fused = epiq.fuse(kernel, output="out_ptr", epilogue=QUANTIZE)
    with pytest.raises(epiq.FusionError) as caught:
        fused[(4, 1)](x, None, 256, BLOCK=256, q=q, scale=scale)
    assert caught.value.rule == rule
    file, number = caught.value.location.rsplit(":", 1)
    with open(file) as source:
        assert line in source.readlines()[int(number) - 1]


def test_a_refused_kernel_works_as_before():
    x, out = torch.randn(4, 256).bfloat16(), torch.zeros(4, 512, dtype=torch.bfloat16)
    run_kernel(shifted, (4, 1), x, out, 512, BLOCK=256)
    assert same_bits(out[3, :256], x[0])


def launch(**changes):
    a, b, _ = operands()
    q, scale = results(M, N, FP8_GROUP128)
    arguments = {"q": q, "scale": scale, "GROUP_M": 2, **TILE, **changes}
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=QUANTIZE)
    fused[(9,)](a, b, None, *ARGS, **{k: v for k, v in arguments.items() if v is not ...})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"q": None}, TypeError, "needs a tensor for q, got None"),
        ({"q": 3}, TypeError, "q must be a tensor, got int"),
        ({"q": torch.zeros(M, N)}, TypeError, "q must be torch.float8_e4m3fn, got torch.float32"),
        ({"scale": torch.zeros(M, 2)}, ValueError, r"scale must have 72 rows of 3, got shape \(72, 2\)"),
        ({"scale": torch.zeros(3, M)}, ValueError, r"scale must have 72 rows of 3, got shape \(3, 72\)"),
        ({"scale": torch.zeros(2 * M, 6)[::2, ::2]}, ValueError, "scale must be contiguous along"),
        ({"q": torch.zeros(M, 100, dtype=torch.float8_e4m3fn)}, ValueError, "does not divide K = 100"),
        ({"scale": torch.zeros(M, 3, device="meta")}, ValueError, "tensors are on cpu and meta"),
        ({"num_wraps": 4}, TypeError, "unexpected keyword argument 'num_wraps'"),
        ({"GROUP_M": ...}, TypeError, "missing 1 required"),
        ({"BLOCK_N": 64}, epiq.FusionError, "E5: a tile of 64 columns does not hold whole groups of 128"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_launch(changes, error, message):
    with pytest.raises(error, match=message):
        launch(**changes)


def test_wrong_arguments_of_fuse():
    with pytest.raises(
        ValueError, match=r"output 'd_ptr' is not an argument of matmul_grouped\(a_ptr, b_ptr,"
    ):
        epiq.fuse(kernels.matmul_grouped, output="d_ptr", epilogue=QUANTIZE)
    with pytest.raises(TypeError, match=r"kernel must be a @triton.jit function, got function"):
        epiq.fuse(launch, output="c_ptr", epilogue=QUANTIZE)
    with pytest.raises(TypeError, match=r"epilogue must be epiq.Quantize or epiq.Epilogue, got QuantFormat"):
        epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=FP8_GROUP128)
    with pytest.raises(ValueError, match="'K' is an argument of matmul_grouped and of the epilogue"):
        epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Epilogue(lambda y, K: y + K))
    with pytest.raises(ValueError, match="needs the maximum over the whole tensor"):
        epiq.Quantize(FP8_PER_TENSOR)
    with pytest.raises(ValueError, match="computes its scales, got scale"):
        epiq.Quantize(FP8_GROUP128, scale=0.5)
    with pytest.raises(TypeError, match="fmt must be a QuantFormat, got str"):
        epiq.Quantize("fp8")
    with pytest.raises(ValueError, match="names repeat"):
        epiq.Epilogue(lambda y: (y, y), outputs=("a", "a"))
    with pytest.raises(ValueError, match="keep_output needs a tensor for c_ptr, got None"):
        fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(FP8_STATIC, 0.5), keep_output=True)
        fused.specialize(*operands()[:2], None, *ARGS, q=torch.zeros(M, N), **TILE)
    with pytest.raises(ValueError, match="not specialized yet"):
        epiq.fuse(kernels.matmul_grouped, "c_ptr", QUANTIZE).ir()


def test_a_descriptor_is_not_left_out():
    """None stands for a pointer: the block of a descriptor is part of the kernel's types."""
    a, b, _ = operands()
    q, scale = results(M, N, FP8_GROUP128)
    a_desc = TensorDescriptor.from_tensor(a, [32, 32])
    b_desc = TensorDescriptor.from_tensor(b.t().contiguous(), [128, 32])
    fused = epiq.fuse(kernels.matmul_host_descriptor, output="c_desc", epilogue=QUANTIZE)
    with pytest.raises(ValueError, match="for c_desc, which is None: where it takes a descriptor pass one"):
        fused[(9,)](a_desc, b_desc, None, M, N, K, q=q, scale=scale, BLOCK_M=32, BLOCK_N=128, BLOCK_K=32)
