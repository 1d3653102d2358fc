"""Layouts of scales, against the formulas of NUMERICS.md written out byte by byte; partial groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from epiq.formats import FP8_GROUP128, MXFP4, MXFP8, NVFP4, QuantFormat, dequantize, quantize
from epiq.formats.layouts import LAYOUTS

FORMATS = {
    "tma_aligned": dataclasses.replace(FP8_GROUP128, scale_layout="tma_aligned"),
    "packed_ue8m0": dataclasses.replace(MXFP8, scale_layout="packed_ue8m0"),
    "packed_group128": dataclasses.replace(
        FP8_GROUP128, scale_dtype="f8E8M0FNU", scale_rounding="rceil", scale_layout="packed_ue8m0"
    ),
    "swizzled_mxfp8": dataclasses.replace(MXFP8, scale_layout="swizzled_128x4"),
    "swizzled_mxfp4": dataclasses.replace(MXFP4, scale_layout="swizzled_128x4"),
    "swizzled_nvfp4": dataclasses.replace(NVFP4, scale_layout="swizzled_128x4"),
    "column_major_mxfp8": dataclasses.replace(MXFP8, scale_layout="column_major"),
}
SHAPES = [(1,), (3,), (5,), (127,), (128,), (129,), (2, 3), (0,), ()]


def run(x: Tensor, fmt: QuantFormat) -> tuple[Tensor, Tensor]:
    return quantize(x, fmt, global_scale=2.0 if fmt.global_scale else None)


def storage(tensor: Tensor) -> np.ndarray:
    """The bytes from a tensor's first element on, strides and all."""
    return np.frombuffer(bytes(tensor.untyped_storage()), np.uint8)[
        tensor.storage_offset() * tensor.element_size() :
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("leading", SHAPES, ids=str)
@pytest.mark.parametrize("groups", [1, 3, 4, 5])
def test_each_scale_lies_where_the_layout_says(name, leading, groups):
    fmt = FORMATS[name]
    plain = dataclasses.replace(fmt, scale_layout="row_major")
    x = torch.randn(*leading, groups * fmt.group_size, generator=torch.Generator().manual_seed(groups))
    _, scale = run(x, plain)
    _, stored = run(x, fmt)
    assert tuple(stored.shape) == fmt.scale_shape(x.shape)
    assert stored.dtype == fmt.torch_scale_dtype
    wanted = scale.reshape(-1, groups).contiguous().view(torch.uint8).numpy()
    rows, size = wanted.shape[0], scale.element_size()
    if rows == 0:
        return
    for have, stride, count in zip(stored.stride(), fmt.scale_strides(x.shape), stored.shape, strict=True):
        assert count == 1 or have == stride
    found = storage(stored)
    wide, aligned = -(-groups // 4), -(-rows // 4) * 4
    offsets = {
        "column_major": lambda m, g: g * rows + m,
        "tma_aligned": lambda m, g: g * aligned + m,
        "packed_ue8m0": lambda m, g: (m + g // 4 * aligned) * 4 + g % 4,
        "swizzled_128x4": lambda m, g: (
            (m // 128 * wide + g // 4) * 512 + m % 32 * 16 + m % 128 // 32 * 4 + g % 4
        ),
    }
    m, g = np.indices((rows, groups))
    offset = offsets[fmt.scale_layout](m, g)
    for byte in range(size):
        assert np.array_equal(found[offset * size + byte], wanted.reshape(rows, groups, size)[:, :, byte])
    if fmt.layout.tile is None and fmt.layout.word == 1:
        return
    is_padding = np.ones(len(found), bool)
    is_padding[offset] = False
    assert not found[is_padding].any()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("leading", [(1,), (129,), (2, 3), ()], ids=str)
def test_dequantize_reads_every_layout(name, leading):
    fmt = FORMATS[name]
    plain = dataclasses.replace(fmt, scale_layout="row_major")
    x = torch.randn(*leading, 3 * fmt.group_size, generator=torch.Generator().manual_seed(1))
    multiplier = 2.0 if fmt.global_scale else None
    wanted = dequantize(*run(x, plain), plain, torch.float32, multiplier)
    assert torch.equal(dequantize(*run(x, fmt), fmt, torch.float32, multiplier), wanted)


def test_scales_of_another_layout_are_refused():
    fmt = FORMATS["tma_aligned"]
    q, scale = quantize(torch.ones(5, 384), fmt)
    with pytest.raises(
        ValueError, match=r"q of shape \(5, 384\) needs scale of strides \(1, 8\), got \(3, 1\)"
    ):
        dequantize(q, scale.contiguous(), fmt)
    q, scale = quantize(torch.ones(5, 96), FORMATS["swizzled_mxfp8"])
    with pytest.raises(ValueError, match=r"needs scale of shape \(1, 1, 32, 4, 4\), got \(512,\)"):
        dequantize(q, scale.flatten(), FORMATS["swizzled_mxfp8"])


@pytest.mark.parametrize("base", [FP8_GROUP128, MXFP8, MXFP4, NVFP4], ids=lambda fmt: fmt.name)
def test_a_padded_group_is_that_of_zeros(base):
    fmt = dataclasses.replace(base, partial_groups="pad")
    x = torch.randn(3, 200, generator=torch.Generator().manual_seed(3))
    wide = torch.nn.functional.pad(x, (0, -200 % base.group_size))
    q, scale = run(x, fmt)
    whole_q, whole_scale = run(wide, base)
    values = 2 if base.element == "f4E2M1FN" else 1
    assert q.shape == (3, 200 // values) and q.is_contiguous()
    assert torch.equal(q.view(torch.uint8), whole_q.view(torch.uint8)[:, : 200 // values])
    assert scale.shape == fmt.scale_shape(x.shape)
    assert torch.equal(scale.view(torch.uint8), whole_scale.view(torch.uint8))
    multiplier = 2.0 if base.global_scale else None
    wanted = dequantize(whole_q, whole_scale, base, torch.float32, multiplier)
    assert torch.equal(dequantize(q, scale, fmt, torch.float32, multiplier), wanted[:, :200])


def test_an_odd_row_cannot_be_packed():
    with pytest.raises(ValueError, match="K = 33 is odd, but f4E2M1FN packs two values a byte"):
        quantize(torch.ones(2, 33), dataclasses.replace(MXFP4, partial_groups="pad"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_are_keys(name):
    assert LAYOUTS[name].name == name


@pytest.mark.parametrize("name", ["tma_aligned", "packed_ue8m0", "swizzled_mxfp8"])
def test_traces_whole_with_dynamic_tokens(name):
    fmt = FORMATS[name]
    graphs = []

    def count(module, _inputs):
        graphs.append(module)
        return module

    torch._dynamo.reset()
    traced = torch.compile(lambda x: run(x * 2.0, fmt), backend=count, fullgraph=True, dynamic=True)
    for rows in (3, 128):
        x = torch.randn(rows, 3 * fmt.group_size, generator=torch.Generator().manual_seed(rows))
        (_, scale), (_, wanted) = traced(x), run(x * 2.0, fmt)
        assert (scale.shape, scale.stride()) == (wanted.shape, wanted.stride())
        assert np.array_equal(storage(scale), storage(wanted))
    assert len(graphs) == 1
