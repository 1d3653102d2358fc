"""What kernels read: dense rows at one distance, aligned; anything else is copied, never misread."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from epiq.pipeline import TensorSpec
from epiq.runtime.buckets import bucket
from epiq.runtime.inputs import count_rows, fit_rows, fit_whole, row_stride


def numbers(*shape: int) -> Tensor:
    size = 1
    for extent in shape:
        size *= extent
    return torch.arange(size, dtype=torch.float32).view(shape)


READ_IN_PLACE = {
    "dense": (numbers(6, 32), 32, 32),
    "dense_3d": (numbers(2, 3, 32), 32, 32),
    "row_of_two_dims": (numbers(6, 4, 8), 32, 32),
    "columns_of_a_wider_tensor": (numbers(6, 64)[:, 16:48], 32, 64),
    "every_other_row": (numbers(12, 32)[::2], 32, 64),
    "one_row_for_all": (numbers(1, 32).expand(6, 32), 32, 0),
    "batch_of_columns": (numbers(2, 3, 64)[..., :32], 32, 64),
    "one_row_of_many": (numbers(4, 3, 32)[:, 1:2], 32, 96),
}
COPIED = {
    "transposed": (numbers(32, 6).t(), 32),
    "every_other_column": (numbers(6, 64)[:, ::2], 32),
    "rows_at_two_distances": (numbers(4, 6, 32)[:, :3], 32),
    "swapped_leading_dims": (numbers(3, 2, 32).transpose(0, 1), 32),
    "misaligned_start": (numbers(6, 65)[:, 1:33], 32),
    "stride_not_divisible": (numbers(6, 40)[:, :32], 32),
    "dense_but_misaligned": (numbers(6 * 32 + 1)[1:].view(6, 32), 32),
}


@pytest.mark.parametrize("name", READ_IN_PLACE)
def test_rows_at_one_distance_are_read_in_place(name: str) -> None:
    x, width, stride = READ_IN_PLACE[name]
    fitted, found = fit_rows(x, width)
    assert fitted.data_ptr() == x.data_ptr()
    assert found == stride
    rows = fitted.as_strided((x.numel() // width, width), (found, 1))
    assert torch.equal(rows, x.reshape(-1, width))


@pytest.mark.parametrize("name", COPIED)
def test_anything_else_is_copied(name: str) -> None:
    x, width = COPIED[name]
    fitted, stride = fit_rows(x, width)
    assert fitted.data_ptr() != x.data_ptr()
    assert fitted.data_ptr() % 16 == 0
    assert stride == width
    assert torch.equal(fitted, x)


def test_an_odd_width_promises_no_divisible_stride() -> None:
    x = numbers(6, 40)[:, :30]
    fitted, stride = fit_rows(x, 30)
    assert fitted.data_ptr() == x.data_ptr()
    assert stride == 40


def test_whole_tensors_are_dense_and_aligned() -> None:
    vector = numbers(32)
    assert fit_whole(vector).data_ptr() == vector.data_ptr()
    for x in (numbers(64)[::2], numbers(33)[1:]):
        assert torch.equal(fit_whole(x), x)
        assert fit_whole(x).data_ptr() % 16 == 0


def test_row_stride_of_a_row_that_is_not_dense() -> None:
    assert row_stride(numbers(6, 4, 16)[:, :, :8], 32) is None


def test_rows_are_counted_and_must_agree() -> None:
    row = TensorSpec("f32", (None, 32), True, 32)
    vector = TensorSpec("f32", (32,), False, 32)
    assert count_rows((vector, row, row), [numbers(32), numbers(6, 32), numbers(2, 3, 32)]) == 6
    with pytest.raises(ValueError, match="hold 6 and 5 rows"):
        count_rows((row, row), [numbers(6, 32), numbers(5, 32)])
    with pytest.raises(ValueError, match="no number of rows"):
        count_rows((vector,), [numbers(32)])


def test_buckets_of_token_counts() -> None:
    counts = (1, 2, 16, 17, 64, 65, 256, 257, 512, 513, 8192, 8193)
    assert [bucket(count) for count in counts] == [1, 16, 16, 64, 64, 256, 256, 512, 512, 1024, 8192, 16384]
