"""What is read off a grouped module: specs, keys, the kernels that a program replaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from epiq import ir
from epiq.pipeline import RowProgram, Schedule, lower
from epiq.pipeline.extract import extract_programs, kernel_name
from epiq.pipeline.program import TensorSpec
from epiq.pipeline.tensor_type import element_bytes, parse_tensor_type, static_size

TEXT = Path(__file__).with_name("grouped_norm.mlir").read_text()


@pytest.fixture(scope="module")
def programs() -> tuple[RowProgram, ...]:
    return extract_programs(ir.parse(TEXT))


def test_equal_programs_share_a_key(programs):
    """A model's layers must compile once: neither symbols nor locations may reach the key."""
    first, second = programs
    assert (first.symbol, second.symbol) == ("fused_mul_quantize_0", "fused_mul_quantize_1")
    assert first.key == second.key
    assert first.ir == second.ir
    assert first.name == "epiq_mul_quantize_512"


def test_specs_of_inputs_and_outputs(programs):
    assert programs[0].inputs == (
        TensorSpec("bf16", (4, 16, 512), True, 512, "row_major"),
        TensorSpec("bf16", (512,), False, 512, "row_major"),
    )
    assert programs[0].outputs == (
        TensorSpec("f8E4M3FN", (64, 512), True, 512, "row_major"),
        TensorSpec("f32", (64, 4), True, 4, "column_major"),
    )
    assert (programs[0].row_width, programs[0].full_row, programs[0].num_rows) == (512, True, 64)
    assert programs[0].composites == ("quantize",)


def test_program_stands_alone(programs):
    """The text parses and verifies by itself and holds nothing but the program."""
    module = ir.parse(programs[0].ir)
    assert len(module.body.operations) == 1
    assert "loc(" not in programs[0].ir


def test_parts_are_the_kernels_of_the_unfused_form(programs):
    parts = programs[0].parts
    assert [part.name for part in parts] == ["add", "mul", "quantize", "layout"]
    # add: bf16 in and out; mul: bf16 in, f32 out, the weight; quantize: f32 in, f8 and scales out.
    assert [part.row_bytes for part in parts] == [512 * 4, 512 * 6, 512 * 5 + 16, 32]
    assert [part.fixed_bytes for part in parts] == [0, 1024, 0, 0]


def test_bytes_grow_with_the_rows(programs):
    program = programs[0]
    assert program.num_bytes(64) == 64 * (512 * 3 + 16) + 1024
    assert program.num_bytes(0) == 1024
    assert program.unfused_bytes(64) == sum(part.num_bytes(64) for part in program.parts)


@pytest.mark.parametrize("flag", [", num_rows = 64 : i64", ""], ids=["annotated", "guessed"])
def test_rows_without_annotation_are_read_off_the_shapes(flag):
    text = TEXT.replace(", num_rows = 64 : i64", flag)
    assert [program.num_rows for program in extract_programs(ir.parse(text))] == [64, 64]


def test_dynamic_tokens():
    text = (
        (TEXT.replace("4x16x512", "?x512").replace("64x512", "?x512").replace("64x4", "?x4"))
        .replace("num_rows = ?", "num_rows = 1")
        .replace("num_rows = 64", "num_rows = 1")
    )
    program = extract_programs(ir.parse(text))[0]
    assert program.num_rows is None
    assert program.inputs[0] == TensorSpec("bf16", (None, 512), True, 512)
    assert program.outputs[1].row_width == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tensor<?x4096xbf16>", ("bf16", (None, 4096))),
        ("tensor<f32>", ("f32", ())),
        ("tensor<1x?x2xf8E4M3FN>", ("f8E4M3FN", (1, None, 2))),
    ],
)
def test_tensor_types(text, expected):
    assert parse_tensor_type(text) == expected


@pytest.mark.parametrize("text", ["f32", "tensor<*xf32>", "tensor<4xf32, #enc>", "vector<4xf32>"])
def test_other_types_are_refused(text):
    with pytest.raises(ValueError, match="not a ranked tensor"):
        parse_tensor_type(text)


def test_sizes():
    assert static_size((4, None, 8)) == 32
    assert static_size((0, 8)) == 8
    with pytest.raises(ValueError, match="i7 is not one of"):
        element_bytes("i7")


@pytest.mark.parametrize(
    "fields",
    [{"block_rows": 3}, {"block_rows": 0}, {"block_cols": -1}, {"num_warps": 3}, {"num_stages": 0}],
    ids=str,
)
def test_bad_schedules_are_refused(fields):
    with pytest.raises(ValueError, match=str(next(iter(fields.values())))):
        Schedule(**fields)


def test_columns_of_a_reduced_row_cannot_be_cut(programs):
    with pytest.raises(ValueError, match="block_cols 128 cuts the row of 512"):
        lower(programs[0], Schedule(block_cols=128))


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("fused_add_rms_norm_quantize_12", "epiq_add_rms_norm_quantize_64"),
        ("quantize_1", "epiq_quantize_64"),
        ("_3", "epiq_64"),
        ("odd.name_0", "epiq_odd_name_64"),
    ],
)
def test_kernel_names(symbol, expected):
    """Triton aborts on odd characters in a symbol."""
    assert kernel_name(symbol, 64) == expected
