"""Rows of many shapes: heads, halves, views, shared values of any rank, reductions of reductions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from row_chains import FP8, Builder, multiply, quantize_groups, rms_norm, to_fp8
from test_row_programs import (
    Chain,
    assert_same_bits,
    chain,
    execute,
    torch_quantize_groups,
    torch_rms_norm,
    torch_to_fp8,
)
from torch import Tensor


def integers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(-4, 5, shape, generator=generator).to(torch.bfloat16)


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) + 0.5


def heads() -> tuple[Chain, list[Tensor]]:
    """A norm of each head, then groups across the heads."""
    b = Builder()
    x, w = b.input((None, 4, 64), "bf16"), b.input((64,), "bf16")
    q, scale = quantize_groups(b, b.reshape(rms_norm(b, x, w), (None, 256)), 128)

    def reference(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return torch_quantize_groups(torch_rms_norm(x, w).flatten(-2), 128)

    return chain(b, [q, scale], reference), [integers(5, 4, 64), integers(64)]


def shared(*shape: int) -> tuple[Chain, list[Tensor]]:
    b = Builder()
    x, w = b.input((None, 64), "bf16"), b.input(shape, "bf16")
    y = multiply(b, x, b.broadcast(w, x.shape))
    return chain(b, [y], lambda x, w: (x * w,)), [integers(5, 64), integers(*shape)]


def scale_per_token(*tail: int) -> tuple[Chain, list[Tensor]]:
    """A scale that comes with each token, with or without a dimension of size 1."""
    b = Builder()
    x, s = b.input((None, 64), "bf16"), b.input((None, *tail), "f32")
    column = b.broadcast(s if tail else b.reshape(s, (None, 1)), x.shape)
    q = to_fp8(b, b.apply("arith.divf", b.cast(x, "f32"), column))

    def reference(x: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        return (torch_to_fp8(x.float() / s.reshape(-1, 1)),)

    return chain(b, [q], reference), [integers(5, 64), positive(5, *tail)]


def dequantize() -> tuple[Chain, list[Tensor]]:
    b = Builder()
    x, s = b.input((None, 256), FP8), b.input((None, 2), "f32")
    groups = b.cast(b.reshape(x, (None, 2, 128)), "f32")
    scales = b.broadcast(b.reshape(s, (None, 2, 1)), groups.shape)
    y = b.cast(b.reshape(b.apply("arith.mulf", groups, scales), (None, 256)), "bf16")

    def reference(x: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        return ((x.float().unflatten(-1, (2, 128)) * s.unsqueeze(-1)).flatten(-2).bfloat16(),)

    return chain(b, [y], reference), [integers(5, 256).to(torch.float8_e4m3fn), positive(5, 2)]


def halves_of_heads() -> tuple[Chain, list[Tensor]]:
    """Slices whose rows have gaps."""
    b = Builder()
    x = b.input((None, 4, 64), "bf16")
    y = b.reshape(multiply(b, b.slice(x, 0, 32), b.slice(x, 32, 64)), (None, 128))
    return chain(b, [y], lambda x: ((x[..., :32] * x[..., 32:]).flatten(-2),)), [integers(5, 4, 64)]


def halves_by_view() -> tuple[Chain, list[Tensor]]:
    """The halves of a row as the two rows of a view of it."""
    b = Builder()
    x = b.input((None, 256), "bf16")
    view = b.reshape(x, (None, 2, 128))
    halves = []
    for index in range(2):
        to = "tensor<?x1x128xbf16>"
        part = b.emit(
            f"epiq.slice {view.name} dim 1 from {index} to {index + 1} : {view.type} to {to}",
            (None, 1, 128),
            "bf16",
        )
        halves.append(b.reshape(part, (None, 128)))
    return chain(b, [multiply(b, *halves)], lambda x: (x[:, :128] * x[:, 128:],)), [integers(5, 256)]


def amax_of_amax() -> tuple[Chain, list[Tensor]]:
    """Groups of 32, and groups of 128 made of them, then a sum of these."""
    b = Builder()
    x = b.input((None, 512), "bf16")
    small = b.reduce("max", b.reshape(b.cast(x, "f32"), (None, 16, 32)), keep=False)
    large = b.reduce("max", b.reshape(small, (None, 4, 4)), keep=False)
    total = b.reduce("sum", large)

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        small = x.float().unflatten(-1, (16, 32)).amax(-1)
        large = small.unflatten(-1, (4, 4)).amax(-1)
        return small, large, large.sum(-1, keepdim=True)

    return chain(b, [small, large, total], reference), [integers(5, 512)]


def other_dimensions() -> tuple[Chain, list[Tensor]]:
    """Reductions of two dimensions at once, and of an outer one; neither size is a power of two."""
    b = Builder()
    x = b.input((None, 6, 48), "f32")
    both = b.emit(
        f"epiq.reduce sum {x.name} dims [1, 2] keep : {x.type} to tensor<?x1x1xf32>", (None, 1, 1), "f32"
    )
    outer = b.emit(f"epiq.reduce max {x.name} dims [1] : {x.type} to tensor<?x48xf32>", (None, 48), "f32")

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        return x.sum((1, 2), keepdim=True), x.amax(1)

    return chain(b, [both, outer], reference), [integers(5, 6, 48).float()]


CASES: dict[str, Callable[[], tuple[Chain, list[Tensor]]]] = {
    "heads": heads,
    "shared_row": lambda: shared(64),
    "shared_row_of_rank_2": lambda: shared(1, 64),
    "shared_number": lambda: shared(),
    "shared_number_of_rank_1": lambda: shared(1),
    "shared_number_of_rank_2": lambda: shared(1, 1),
    "scale_per_token": lambda: scale_per_token(1),
    "scale_per_token_of_rank_1": lambda: scale_per_token(),
    "dequantize": dequantize,
    "halves_of_heads": halves_of_heads,
    "halves_by_view": halves_by_view,
    "amax_of_amax": amax_of_amax,
    "other_dimensions": other_dimensions,
}


@pytest.mark.parametrize("block_rows", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_gives_the_bits_of_torch(name, block_rows):
    case, inputs = CASES[name]()
    for ours, theirs in zip(execute(case, inputs, block_rows), case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize(
    ("name", "block_cols"),
    [
        ("halves_of_heads", 64),
        ("dequantize", 128),
        ("scale_per_token", 16),
        ("shared_number", 32),
        ("heads", 128),
    ],
)
def test_columns_may_be_cut(name, block_cols):
    case, inputs = CASES[name]()
    outputs = execute(case, inputs, block_cols=block_cols)
    for ours, theirs in zip(outputs, case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


def test_results_may_be_inputs_and_truth_values():
    b = Builder()
    x = b.input((None, 64), "bf16")
    zero = b.constant(0.0, x)
    mask = b.emit(f"arith.cmpf ogt, {x.name}, {zero.name} : {x.type}", x.shape, "i1")
    case = chain(b, [x, mask, x], lambda x: (x, x > 0, x))
    inputs = [integers(5, 64)]
    for ours, theirs in zip(execute(case, inputs), case.reference(*inputs), strict=True):
        assert torch.equal(ours, theirs)
