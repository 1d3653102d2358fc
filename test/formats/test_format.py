"""Formats are data: what makes one, and what does not."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from epiq import formats
from epiq.formats import FP8_GROUP128, FP8_PER_TENSOR, FP8_PER_TOKEN, NVFP4, QuantFormat


def test_formats_are_frozen_hashable_and_named_once():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FP8_GROUP128.group_size = 64  # type: ignore[misc]
    assert len({fmt.name for fmt in formats.ALL}) == len(set(formats.ALL)) == 9


def test_replace_makes_a_new_format():
    """DeepGEMM's activations: another floor, on amax, and a multiplication."""
    deep_gemm = dataclasses.replace(FP8_GROUP128, floor=1e-4, floor_on="amax", division=False)
    assert deep_gemm != FP8_GROUP128
    assert deep_gemm.element_max == 448.0


@pytest.mark.parametrize(
    ("fmt", "shape", "scale_shape"),
    [
        (FP8_PER_TENSOR, (3, 256), ()),
        (FP8_PER_TOKEN, (2, 3, 40), (2, 3, 1)),
        (FP8_GROUP128, (2, 3, 256), (2, 3, 2)),
        (FP8_GROUP128, (0, 256), (0, 2)),
        (NVFP4, (5, 32), (5, 2)),
    ],
)
def test_scale_shape(fmt, shape, scale_shape):
    assert fmt.scale_shape(shape) == scale_shape


def test_dtypes():
    assert FP8_GROUP128.value_dtype == torch.float8_e4m3fn
    assert NVFP4.torch_scale_dtype == torch.float8_e4m3fn
    assert formats.MXFP8.torch_scale_dtype == torch.float8_e8m0fnu


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"element": "f8"}, "element 'f8' is not one of f8E4M3FN"),
        ({"granularity": "row"}, "granularity 'row' is not one of tensor, token, group"),
        ({"group_size": 0}, "granularity 'group' does not go with group_size 0"),
        ({"granularity": "token"}, "granularity 'token' does not go with group_size 128"),
        ({"scale_dtype": "bf16"}, "scale_dtype 'bf16' is not one of f32"),
        ({"scale_dtype": "f8E8M0FNU"}, "'f8E8M0FNU' does not go with scale_rounding 'none'"),
        ({"scale_rounding": "rceil"}, "'f32' does not go with scale_rounding 'rceil'"),
        ({"scale_dtype": "f8E4M3FN"}, "'f8E4M3FN' does not go with global_scale False"),
        ({"static": True}, "a static scale is one for the tensor, got granularity 'group'"),
        ({"floor": -1.0}, r"floor must be finite and not negative, got -1.0"),
        ({"floor": float("inf")}, "floor must be finite and not negative, got inf"),
        ({"floor": 0.0}, r"floor 0.0 leaves a group of zeros with scale 0"),
        ({"floor_on": "max"}, "floor_on 'max' is not one of scale, amax"),
        ({"upper_bound": 0.0}, r"upper_bound must be positive, got 0.0"),
        ({"scale_rounding": "up"}, "scale_rounding 'up' is not one of none, rceil, floor"),
        ({"scale_layout": "diagonal"}, "scale_layout 'diagonal' is not one of row_major, column_major"),
        ({"scale_layout": "packed_ue8m0"}, "is one of scales of f8E8M0FNU, got scale_dtype 'f32'"),
        (
            {"scale_layout": "swizzled_128x4"},
            "is one of scales of f8E8M0FNU or f8E4M3FN, got scale_dtype 'f32'",
        ),
        ({"partial_groups": "cut"}, "partial_groups 'cut' is not one of refuse, pad"),
    ],
)
def test_fields_that_make_no_format(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FP8_GROUP128, **change)


def test_packed_elements_need_an_even_group():
    with pytest.raises(ValueError, match="group_size 15 is odd, but f4E2M1FN packs two values a byte"):
        dataclasses.replace(NVFP4, group_size=15)


def test_one_scale_a_row_has_no_column_major_layout():
    with pytest.raises(ValueError, match="needs several scales a row, got granularity 'token'"):
        dataclasses.replace(FP8_PER_TOKEN, scale_layout="column_major")


def test_ocp_floor_has_its_floor_on_amax():
    with pytest.raises(ValueError, match="'floor' has its floor on amax, got floor_on 'scale'"):
        dataclasses.replace(formats.MXFP4, floor=1e-4)
    assert dataclasses.replace(formats.MXFP4, floor=1e-4, floor_on="amax").floor == 1e-4


def test_group_must_divide_k():
    with pytest.raises(ValueError, match="group_size 128 does not divide K = 200"):
        FP8_GROUP128.scale_shape((4, 200))


def test_rows_need_a_dimension():
    with pytest.raises(ValueError, match=r"fp8_per_token needs rows along K, got a tensor of shape \(\)"):
        FP8_PER_TOKEN.scale_shape(())


def test_annotations_name_every_field():
    """The graph's format attribute mirrors these; a new field must be thought of there too."""
    assert [field.name for field in dataclasses.fields(QuantFormat)] == [
        "name", "element", "granularity", "group_size", "scale_dtype", "static", "floor", "floor_on",
        "upper_bound", "division", "scale_rounding", "scale_layout", "global_scale", "partial_groups",
    ]  # fmt: skip
