"""Makes a tensor fit what a kernel reads: an aligned pointer and one stride from row to row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from epiq.runtime.shapes import leading_rank

if TYPE_CHECKING:
    from epiq.pipeline.program import TensorSpec

# What the kernels' pointer and stride arguments promise, in bytes and in elements.
ALIGNMENT = 16


def fit_rows(x: Tensor, width: int) -> tuple[Tensor, int]:
    """`x`, or a copy of it, whose rows of `width` elements are a fixed number of elements apart.

    Returns: the tensor and that number. A copy is made where the rows are not dense, do not follow
    one another at one distance, or lie at addresses that the kernel does not expect.
    """
    if x.is_contiguous():
        return (x if x.data_ptr() % ALIGNMENT == 0 else x.clone()), width
    stride = row_stride(x, width)
    aligned = stride is not None and (width % ALIGNMENT != 0 or stride % ALIGNMENT == 0)
    if stride is None or not aligned or x.data_ptr() % ALIGNMENT != 0:
        return x.contiguous(), width
    return x, stride


def fit_whole(x: Tensor) -> Tensor:
    """`x`, or a copy of it, dense and aligned."""
    if not x.is_contiguous():
        return x.contiguous()
    return x if x.data_ptr() % ALIGNMENT == 0 else x.clone()


def check_buffer(x: Tensor) -> None:
    """Raises: ValueError for memory that a kernel cannot store rows in: a copy would be lost."""
    if not x.is_contiguous():
        raise ValueError(
            f"a buffer of shape {tuple(x.shape)} has strides {x.stride()}, not dense ones; pass all of it"
        )
    if x.data_ptr() % ALIGNMENT != 0:
        raise ValueError(
            f"a buffer of shape {tuple(x.shape)} starts {x.data_ptr() % ALIGNMENT} bytes behind a multiple "
            f"of {ALIGNMENT}; allocate it on its own"
        )


def row_stride(x: Tensor, width: int) -> int | None:
    """The distance between consecutive rows in elements, None if it is not one number."""
    sizes, strides = x.shape, x.stride()
    leading = leading_rank(sizes, width)
    dense = 1
    for index in range(len(sizes) - 1, leading - 1, -1):
        if sizes[index] != 1 and strides[index] != dense:
            return None
        dense *= sizes[index]
    found: int | None = None
    extent = 1
    for index in range(leading - 1, -1, -1):
        if sizes[index] == 1:
            continue
        if found is None:
            found = strides[index]
        elif strides[index] != found * extent:
            return None
        extent *= sizes[index]
    return width if found is None else found


def count_rows(specs: tuple[TensorSpec, ...], inputs: list[Tensor], otherwise: int | None = None) -> int:
    """The number of rows that all row-like inputs hold, `otherwise` where there is no such input.

    Raises: ValueError if two of them differ, or nothing tells.
    """
    found: int | None = None
    for spec, x in zip(specs, inputs, strict=True):
        if not spec.row_like:
            continue
        rows = x.numel() // spec.row_width
        if found is not None and rows != found:
            raise ValueError(f"inputs of one row program hold {found} and {rows} rows")
        found = rows
    if found is None:
        found = otherwise
    if found is None:
        raise ValueError("a row program without an input of rows has no number of rows")
    return found
