"""Kernels of packages on PyPI, as their authors wrote them, with small arguments for each.

Only the module that holds a kernel is imported: what a package imports at its top may need a GPU or
packages that tests do not.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN


@dataclass(frozen=True)
class Case:
    """A launch of a kernel, and the epilogue of one of its outputs.

    kernel: loads it. args: by name, with a tensor for `output`. inputs: of the epilogue. has_dot: whether
    the kernel is a matrix product.
    """

    package: str
    kernel: Callable[[], Any]
    grid: tuple[int, ...]
    args: dict[str, Any]
    output: str
    epilogue: epiq.Epilogue
    inputs: dict[str, Tensor] = field(default_factory=dict)
    has_dot: bool = False


def load(path: str, bare: int) -> Callable[[], Any]:
    """A kernel, "module:name"; the `bare` outermost packages around its module do not run.

    Raises, when called: ImportError if the package is not installed.
    """
    module, name = path.split(":")

    def kernel() -> Any:
        parts = module.split(".")
        for i in range(1, bare + 1):
            _stand_in_for_package(".".join(parts[:i]))
        return getattr(importlib.import_module(module), name)

    return kernel


def _stand_in_for_package(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"no package {name}")
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__version__ = "0"  # type: ignore[attr-defined]
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)


def configured(path: str, bare: int, **values: Any) -> Callable[[], Any]:
    """An autotuned kernel with one config left, that with `values`; pruning may look for a GPU."""

    def kernel() -> Any:
        found = tuner = load(path, bare)()
        while not hasattr(tuner, "configs"):
            tuner = tuner.fn
        first = tuner.configs[0]
        tuner.configs = [type(first)(values, num_warps=first.num_warps, num_stages=first.num_stages)]
        tuner.early_config_prune = tuner.perf_model = None
        return found

    return kernel


def randn(*shape: int, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


def quantize(fmt: epiq.formats.QuantFormat = FP8_GROUP128) -> epiq.Quantize:
    return epiq.Quantize(fmt, outputs=("eq", "escale"))


def dequantize(y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What follows an int8 GEMM: its int32 sums times the scales of both operands."""
    return (y.float() * rows * columns).bfloat16()


def liger_rms_norm() -> Case:
    rows, cols = 5, 256
    x, y = randn(rows, cols), torch.zeros(rows, cols, dtype=torch.bfloat16)
    return Case(
        "liger-kernel", load("liger_kernel.ops.rms_norm:_rms_norm_forward_kernel", bare=2),
        (rows,),
        {"Y_ptr": y, "Y_row_stride": cols, "X_ptr": x, "X_row_stride": cols, "W_ptr": randn(cols),
         "W_row_stride": 1, "RSTD_ptr": torch.zeros(rows), "RSTD_row_stride": 1, "n_cols": cols, "eps": 1e-6,
         "offset": 0.0, "casting_mode": 0, "elementwise_affine": True, "BLOCK_SIZE": 256},
        "Y_ptr", quantize(FP8_PER_TOKEN),
    )  # fmt: skip


def liger_geglu() -> Case:
    rows, cols = 4, 384
    a, b, c = randn(rows, cols), randn(rows, cols, seed=1), torch.zeros(rows, cols, dtype=torch.bfloat16)
    return Case(
        "liger-kernel", load("liger_kernel.ops.geglu:_geglu_tanh_forward_kernel", bare=2),
        (rows,),
        {"a": a, "b": b, "c": c, "stride": cols, "n_cols": cols, "BLOCK_SIZE": 512}, "c", quantize(),
    )  # fmt: skip


def liger_layer_norm() -> Case:
    rows, cols = 3, 256
    x, y = randn(rows, cols), torch.zeros(rows, cols, dtype=torch.bfloat16)
    mean, rstd = torch.zeros(rows), torch.zeros(rows)
    return Case(
        "liger-kernel", load("liger_kernel.ops.layer_norm:_layer_norm_forward_kernel", bare=2),
        (rows,),
        {"Y_ptr": y, "Y_row_stride": cols, "X_ptr": x, "X_row_stride": cols, "W_ptr": randn(cols),
         "W_row_stride": 1, "B_ptr": randn(cols, seed=1), "B_row_stride": 1, "Mean_ptr": mean,
         "Mean_row_stride": 1, "RSTD_ptr": rstd, "RSTD_row_stride": 1, "n_cols": cols, "eps": 1e-6,
         "BLOCK_SIZE": 256},
        "Y_ptr", quantize(FP8_GROUP64),
    )  # fmt: skip


def liger_moe_down() -> Case:
    """A grouped GEMM: two experts, with 20 and 12 tokens."""
    tokens, hidden, inner = 32, 128, 64
    y = torch.zeros(tokens, hidden, dtype=torch.bfloat16)
    i32 = torch.int32
    return Case(
        "liger-kernel",
        configured(
            "liger_kernel.ops.fused_moe_kernels:_fused_down_proj_kernel", bare=2, BLOCK_N=128, BLOCK_K=32
        ),
        (3, 1),
        {"post_act_ptr": randn(tokens, inner), "down_proj_ptr": randn(2, hidden, inner),
         "expert_start_ptr": torch.tensor([0, 20, 32], dtype=i32),
         "tile_row_start_ptr": torch.tensor([0, 16, 20], dtype=i32),
         "tile_expert_ptr": torch.tensor([0, 0, 1], dtype=i32), "Y_ptr": y, "H_dim": hidden, "I_dim": inner,
         "stride_post_TK": inner, "stride_post_I": 1, "stride_w_E": hidden * inner, "stride_w_H": inner,
         "stride_w_I": 1, "stride_Y_TK": hidden, "stride_Y_H": 1, "BLOCK_M": 16},
        "Y_ptr", quantize(), has_dot=True,
    )  # fmt: skip


def liger_moe_up() -> Case:
    """Two accumulators in a loop, gate and up; what is fused is the product of both."""
    tokens, hidden, inner = 32, 64, 128
    i32 = torch.int32
    return Case(
        "liger-kernel",
        configured(
            "liger_kernel.ops.fused_moe_kernels:_fused_up_proj_swiglu_kernel", bare=2, BLOCK_N=64, BLOCK_K=32
        ),
        (3, 2),
        {"x_ptr": randn(tokens, hidden), "gate_up_proj_ptr": randn(2, 2 * inner, hidden),
         "x_gather_idx_ptr": torch.arange(tokens, dtype=i32).flip(0),
         "expert_start_ptr": torch.tensor([0, 20, 32], dtype=i32),
         "tile_row_start_ptr": torch.tensor([0, 16, 20], dtype=i32),
         "tile_expert_ptr": torch.tensor([0, 0, 1], dtype=i32),
         "pre_act_ptr": torch.zeros(tokens, 2 * inner, dtype=torch.bfloat16),
         "post_act_ptr": torch.zeros(tokens, inner, dtype=torch.bfloat16), "H_dim": hidden, "I_dim": inner,
         "stride_x_T": hidden, "stride_x_H": 1, "stride_w_E": 2 * inner * hidden, "stride_w_N": hidden,
         "stride_w_K": 1, "stride_pre_TK": 2 * inner, "stride_pre_N": 1, "stride_post_TK": inner,
         "stride_post_N": 1, "BLOCK_M": 16},
        "post_act_ptr", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def liger_mhc() -> Case:
    rows, k, cols = 20, 64, 64
    y = torch.zeros(rows, cols, dtype=torch.float32)
    return Case(
        "liger-kernel", load("liger_kernel.ops.mhc:_mhc_mm_norm_fwd_kernel", bare=2),
        (2, 1),
        {"x_ptr": randn(rows, k), "phi_ptr": randn(k, cols), "mix_ptr": y, "invr_ptr": torch.zeros(rows),
         "N": rows, "K": k, "M": cols, "stride_xn": k, "stride_xk": 1, "stride_phik": cols, "stride_phim": 1,
         "stride_mn": cols, "stride_mm": 1, "eps": 1e-6, "BLOCK_N": 16, "BLOCK_K": 32, "BLOCK_M": 64,
         "CAST_FP32": False},
        "mix_ptr", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def fla_matmul() -> Case:
    """Batches, tiles in a swizzled order, bias and factors, autotuned below heuristics."""
    batch, m, n, k = 2, 40, 128, 64
    c = torch.zeros(batch, m, n, dtype=torch.bfloat16)
    return Case(
        "fla-core",
        configured("fla.ops.utils.matmul:matmul_kernel", bare=2, BM=32, BK=32, BN=128, G=2),
        (batch, 2, 1),
        {"a": randn(batch, m, k), "b": randn(k, n), "c": c, "input": None, "alpha": None, "beta": None,
         "M": m, "N": n, "K": k, "stride_ab": m * k, "stride_am": k, "stride_ak": 1, "stride_bk": n,
         "stride_bn": 1, "stride_cb": m * n, "stride_cm": n, "stride_cn": 1, "ACTIVATION": "",
         "HAS_INPUT": False, "ALLOW_TF32": True},
        "c", quantize(), has_dot=True,
    )  # fmt: skip


def fla_chunk_o() -> Case:
    """The output of chunked linear attention, (B, T, H, V): rows are tokens, heads lie side by side."""
    b, t, h, k, v, bt = 1, 40, 2, 64, 64, 32
    o = torch.zeros(b, t, h, v, dtype=torch.bfloat16)
    return Case(
        "fla-core",
        configured("fla.ops.common.chunk_o:chunk_fwd_kernel_o", bare=3, BK=32, BV=64),
        (2, b * h),
        {"q": randn(b, t, h, k), "k": randn(b, t, h, k, seed=1), "v": randn(b, t, h, v, seed=2),
         "h": randn(b, 2, h, k, v, seed=3), "g": None, "g_gamma": None, "o": o, "cu_seqlens": None,
         "chunk_indices": None, "scale": 0.125, "T": t, "H": h, "HV": h, "K": k, "V": v, "BT": bt,
         "STATE_V_FIRST": False},
        "o", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def fla_chunk_h() -> Case:
    """The states of chunked linear attention, (B, NT, H, K, V): stored in the loop that makes them."""
    b, t, h, k, v, bt = 1, 64, 2, 64, 64, 32
    states = torch.zeros(b * (t // bt) * h * k, v, dtype=torch.bfloat16)
    return Case(
        "fla-core", configured("fla.ops.common.chunk_h:chunk_fwd_kernel_h", bare=3, BK=64, BV=64),
        (b * h,),
        {"k": randn(b, t, h, k), "v": randn(b, t, h, v, seed=1), "h": states, "g": None, "g_gamma": None,
         "gk": None, "gv": None, "h0": None, "ht": None, "cu_seqlens": None, "split_offsets": None, "T": t,
         "H": h, "K": k, "V": v, "BT": bt, "BS": bt, "USE_G": False, "USE_G_GAMMA": False,
         "USE_GK": False, "USE_GV": False, "STATE_V_FIRST": False},
        "h", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def fla_attention() -> Case:
    b, t, h, d = 1, 40, 2, 64
    o = torch.zeros(b, t, h, d, dtype=torch.bfloat16)
    return Case(
        "fla-core", load("fla.ops.attn.parallel:parallel_attn_fwd_kernel", bare=3),
        (2, b * h),
        {"q": randn(b, t, h, d), "k": randn(b, t, h, d, seed=1), "v": randn(b, t, h, d, seed=2), "o": o,
         "g_cumsum": None, "sink_bias": None, "lse": torch.zeros(b, t, h), "scale": 0.125,
         "cu_seqlens": None, "chunk_indices": None, "T": t, "W": None, "B": b, "H": h, "HQ": h, "G": 1,
         "K": d, "V": d, "BT": 32, "BS": 32, "BK": 64, "BV": 64},
        "o", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def _int8(m: int, n: int, k: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-128, 128, (m, k), generator=generator, dtype=torch.int8)
    b = torch.randint(-128, 128, (k, n), generator=generator, dtype=torch.int8)
    return {
        "a_ptr": a, "b_ptr": b, "M": m, "N": n, "K": k, "stride_am": k, "stride_ak": 1, "stride_bk": n,
        "stride_bn": 1, "stride_cm": n, "stride_cn": 1, "BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 32,
        "GROUP_M": 8,
    }  # fmt: skip


def torchao_int_mm() -> Case:
    """Block pointers, and int32 sums that an epilogue dequantizes."""
    m, n, k = 40, 64, 64
    return Case(
        "torchao", load("torchao.kernel.intmm_triton:matmul_kernel_with_block_pointers", bare=2),
        (2,),
        {**_int8(m, n, k), "c_ptr": torch.zeros(m, n, dtype=torch.int32)},
        "c_ptr", epiq.Epilogue(dequantize), {"rows": torch.rand(m, 1), "columns": torch.rand(n)},
        has_dot=True,
    )  # fmt: skip


def torchao_scaled_int_mm() -> Case:
    m, n, k = 40, 128, 64
    return Case(
        "torchao", load("torchao.kernel.intmm_triton:scaled_matmul_kernel_with_block_pointers", bare=2),
        (4,),
        {**_int8(m, n, k), "c_ptr": torch.zeros(m, n, dtype=torch.bfloat16),
         "s1_ptr": randn(m, 1).abs(), "stride_s1m": 1, "stride_s1n": 1, "EVEN_K": True},
        "c_ptr", quantize(FP8_GROUP64), has_dot=True,
    )  # fmt: skip


def torchao_matmul() -> Case:
    import triton.language as tl

    m, n, k = 40, 128, 64
    return Case(
        "torchao",
        configured(
            "torchao.prototype.common.triton.matmul:_kernel", bare=4, BLOCK_M=32, BLOCK_N=128, BLOCK_K=32,
            SPLIT_K=1,
        ),
        (2, 1),
        {"A": randn(m, k), "B": randn(k, n), "C": torch.zeros(m, n, dtype=torch.bfloat16), "M": m, "N": n,
         "K": k, "stride_am": k, "stride_ak": 1, "stride_bk": n, "stride_bn": 1, "stride_cm": n,
         "stride_cn": 1, "acc_dtype": tl.float32, "input_precision": "tf32", "fp8_fast_accum": True,
         "GROUP_M": 8, "AB_DTYPE": None},
        "C", quantize(), has_dot=True,
    )  # fmt: skip


def conch_silu_and_mul() -> Case:
    rows, d = 4, 256
    y = torch.zeros(rows, d, dtype=torch.bfloat16)
    return Case(
        "conch-triton-kernels",
        load("conch.kernels.activation.silu_and_mul:_silu_and_mul_kernel", bare=3), (rows, 1),
        {"output_ptr": y, "x_ptr": randn(rows, 2 * d), "output_stride": d, "input_stride": 2 * d, "d": d,
         "cxpr_block_size": 256},
        "output_ptr", quantize(),
    )  # fmt: skip


def conch_rms_norm() -> Case:
    rows, cols = 3, 256
    y = torch.zeros(rows, cols, dtype=torch.bfloat16)
    return Case(
        "conch-triton-kernels", load("conch.kernels.normalization.rms_norm:_rms_norm_kernel", bare=3),
        (rows,),
        {"output_ptr": y, "x_ptr": randn(rows, cols), "residual_ptr": None, "weight_ptr": randn(cols),
         "hidden_size": cols, "epsilon": 1e-6, "cxpr_block_size": 256, "cxpr_use_residual": False},
        "output_ptr", quantize(),
    )  # fmt: skip


CASES = (
    liger_rms_norm, liger_geglu, liger_layer_norm, liger_moe_down, liger_moe_up, liger_mhc, fla_matmul,
    fla_chunk_o, fla_chunk_h, fla_attention, torchao_int_mm, torchao_scaled_int_mm, torchao_matmul,
    conch_silu_and_mul, conch_rms_norm,
)  # fmt: skip
