"""Kernels without their operand's quantization against the kernels as they are: the same bits."""

from __future__ import annotations

import pytest
import quantizing_kernels as kernels
import torch
from triton.tools.tensor_descriptor import TensorDescriptor
from unfused import run_kernel

import epiq

M, N, D = 50, 40, 64
GRID = (2, 2)
TILE = {"BM": 32, "BN": 32}
FP8 = torch.float8_e4m3fn


def bf16(*shape):
    """Rows of very different sizes, one of zeros, one with an infinity and one with NaN."""
    torch.manual_seed(0)
    x = torch.randn(shape) * torch.logspace(-3, 3, shape[-2])[:, None]
    x[..., 3, :] = 0
    x[..., 5, 7] = float("inf")
    x[..., 6, 9] = float("nan")
    return x.bfloat16()


def fp8(*shape):
    torch.manual_seed(1)
    return torch.randn(shape).to(FP8)


def int8(*shape):
    torch.manual_seed(1)
    return torch.randint(-127, 128, shape, dtype=torch.int8)


def same_bits(a, b):
    """The same bits, but for the sign of NaN."""
    bits = torch.int16 if a.dtype.itemsize == 2 else torch.int32
    return bool(((a.view(bits) == b.view(bits)) | (a.isnan() & b.isnan())).all())


def check(kernel, operand, grid, args, out, *, scalars=(), **constants):
    """Runs the kernel as it is and with the operand quantized before; returns what was pulled.

    args: by name; operand among them unquantized. out: the name of the output.
    """
    expected = {**args, out: torch.full_like(args[out], -1)}
    run_kernel(kernel, grid, *expected.values(), **constants)
    pulled = epiq.pull_quant(kernel, operand)
    made = pulled.specialize(*args.values(), **constants)
    x = args[operand]
    is_descriptor = hasattr(x, "base")
    results = pulled.quantizer(x.base if is_descriptor else x, *scalars)
    q, *scales = results if isinstance(results, tuple) else (results,)
    if is_descriptor:
        q = TensorDescriptor(q, list(x.shape), list(x.strides), list(x.block_shape))
    got = {**args, operand: q, out: torch.full_like(args[out], -1)}
    names = made.quantizer.outputs[1:]
    pulled[grid](*got.values(), **dict(zip(names, scales, strict=True)), **constants)
    assert same_bits(got[out], expected[out])
    return pulled


def scores(kernel, k, grid=GRID, **more):
    args = {"q_ptr": bf16(M, D), "k_ptr": k, "o_ptr": torch.zeros(M, N), **more, "M": M, "N": N}
    return check(kernel, "q_ptr", grid, args, "o_ptr", D=D, **TILE)


@pytest.mark.parametrize("layout", ["heads_first", "tokens_first"])
def test_a_scale_for_each_token(layout):
    """Batches and heads by strides; a tile that is masked at the end of each sequence."""
    q = bf16(2, 2, M, D)
    if layout == "tokens_first":
        q = q.transpose(1, 2).contiguous().transpose(1, 2)
    k, v = fp8(2, 2, N, D), fp8(2, 2, N, D)
    strides = dict(zip(("z", "h", "m"), q.stride(), strict=False))
    kv = dict(zip(("kz", "kh", "kn"), k.stride(), strict=False))
    args = {"q_ptr": q, "k_ptr": k, "v_ptr": v, "o_ptr": torch.zeros_like(q), **strides, **kv}
    args |= {"H": 2, "M": M, "N": N, "sm_scale": 0.1}
    pulled = check(kernels.attention_per_token, "q_ptr", (2, 4), args, "o_ptr", D=D, **TILE)
    assert pulled.quantizer.groups == (D,)


def test_a_static_scale_has_no_new_argument():
    scale = torch.tensor([0.37])
    args = {"q": bf16(M, D), "k": fp8(N, D), "o": torch.zeros(M, N), "s": scale, "stride": D, "M": M, "N": N}
    args["q_ptr"] = args.pop("q")
    ordered = {name: args[name] for name in ("q_ptr", "k", "o", "s", "stride", "M", "N")}
    pulled = check(kernels.attention_static, "q_ptr", GRID, ordered, "o", scalars=(scale,), D=D, **TILE)
    assert pulled.quantizer.inputs == ("q_scale",)
    assert pulled.quantizer.outputs == ("q",)


def test_int8_with_a_scalar_folded_in_and_a_padded_row():
    """96 columns in a tile of 128; x + 0.5 * sign is cut off to whole numbers."""
    q, k = bf16(M, 96).nan_to_num(0, 100, -100), int8(N, 96)
    args = {"q_ptr": q, "k_ptr": k, "o_ptr": torch.zeros(M, N), "sm_scale": 0.3, "M": M, "N": N}
    pulled = check(
        kernels.attention_int8_tokens, "q_ptr", GRID, args, "o_ptr", scalars=(0.3,), D=96, BLOCK_D=128, **TILE
    )
    assert pulled.quantizer.width == 96
    assert pulled.quantizer.inputs == ("sm_scale",)


def test_keys_that_are_quantized_in_the_loop():
    """The tile moves with the loop, and lies transposed."""
    q_scale = torch.rand(M)
    args = {"q": fp8(M, D), "k_ptr": bf16(N, D), "o": torch.zeros(M), "s": q_scale, "M": M, "N": N}
    pulled = check(kernels.attention_k_in_loop, "k_ptr", (2,), args, "o", D=D, **TILE)
    body = pulled.ir().split("scf.for")[1]
    assert "arith.divf" not in body
    assert "math.absf" not in body


def test_groups_within_a_row_and_values_that_are_dequantized_again():
    args = {"q_ptr": bf16(M, D), "k_ptr": bf16(N, D), "o_ptr": torch.zeros(M, N), "M": M, "N": N}
    pulled = check(kernels.attention_groups, "q_ptr", GRID, args, "o_ptr", D=D, G=16, **TILE)
    assert pulled.quantizer.groups == (16,)


def test_block_pointers():
    scores(kernels.attention_block_pointers, fp8(N, D), grid=(2,))


def test_a_descriptor_that_the_kernel_makes():
    scores(kernels.attention_device_descriptor, fp8(N, D), grid=(2,))


def test_a_descriptor_that_the_caller_makes():
    q = TensorDescriptor.from_tensor(bf16(M, D), [32, D])
    args = {"q_desc": q, "k_ptr": fp8(N, D), "o_ptr": torch.zeros(M, N), "M": M, "N": N}
    check(kernels.attention_host_descriptor, "q_desc", (2,), args, "o_ptr", D=D, **TILE)


def block_args(m):
    q = bf16(2, m, D).nan_to_num(0, 100, -100)
    args = {"q_ptr": q, "k_ptr": int8(2, N, D), "o_ptr": torch.zeros(2, m, N)}
    return args | {"stride_h": m * D, "stride_m": D, "sm_scale": 0.3, "M": m, "N": N}


def test_a_scale_for_a_block_of_rows():
    """As SageAttention has it; the strides are arguments, and decide that rows lie next to each other."""
    pulled = check(
        kernels.attention_per_block, "q_ptr", (2, 2, 2), block_args(64), "o_ptr", scalars=(0.3,), D=D, **TILE
    )
    assert pulled.quantizer.rows == 32
    assert pulled.quantizer.groups == (32 * D,)


def test_a_block_that_is_cut_off_is_refused_with_the_rule_and_the_line():
    pulled = epiq.pull_quant(kernels.attention_per_block, "q_ptr")
    with pytest.raises(epiq.PullError, match="Q7: the mask may leave out some of the rows") as error:
        pulled.specialize(*block_args(M).values(), D=D, **TILE)
    assert error.value.rule == "Q7"
    assert "quantizing_kernels.py" in str(error.value)


def test_probabilities_are_no_operand():
    q, k = bf16(2, 2, M, D), fp8(2, 2, N, D)
    strides = (*q.stride()[:3], *k.stride()[:3])
    pulled = epiq.pull_quant(kernels.attention_per_token, "v_ptr", operand_dtype=FP8)
    with pytest.raises(epiq.PullError, match="Q3: the kernel makes no 8-bit values"):
        pulled.specialize(q, k, k, torch.zeros_like(q), *strides, 2, M, N, 0.1, D=D, **TILE)
