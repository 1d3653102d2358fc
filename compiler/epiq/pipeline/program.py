"""What the passes made, as plain data: schedules, tensors, row programs, a grouped graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from epiq.formats.layouts import LAYOUTS
from epiq.pipeline.parts import Part
from epiq.pipeline.tensor_type import element_bytes

if TYPE_CHECKING:
    from epiq.ir import Diagnostic

Layout = Literal["row_major", "column_major", "tma_aligned", "packed_ue8m0", "swizzled_128x4", "packed_e2m1"]


@dataclass(frozen=True)
class Schedule:
    """How one row program is cut into Triton programs.

    block_rows: rows of one program id. block_cols: columns of one program id, 0 for the whole row;
    must be 0 when a reduction spans the row. num_warps: a power of two. num_stages: loop stages.
    chunk_cols: where a program holds the whole row, the columns of one tile of it; 0 leaves the
    choice to the lowering.
    """

    block_rows: int = 1
    block_cols: int = 0
    num_warps: int = 8
    num_stages: int = 1
    chunk_cols: int = 0

    def __post_init__(self) -> None:
        if self.block_rows < 1 or self.block_rows & (self.block_rows - 1):
            raise ValueError(f"block_rows {self.block_rows} is not a power of two >= 1")
        if self.block_cols < 0:
            raise ValueError(f"block_cols {self.block_cols} is less than 0")
        if self.chunk_cols < 0:
            raise ValueError(f"chunk_cols {self.chunk_cols} is less than 0")
        if self.num_warps not in (1, 2, 4, 8, 16, 32):
            raise ValueError(f"num_warps {self.num_warps} is not one of 1, 2, 4, 8, 16, 32")
        if self.num_stages < 1:
            raise ValueError(f"num_stages {self.num_stages} is less than 1")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a row program.

    dtype: MLIR's spelling. shape: None where a dimension is dynamic. row_like: has the token
    dimensions. row_width: elements of one row (of the whole tensor when it is not row-like), those
    that pad it counted. zeroed: an output that must hold 0 before the kernel runs, which combines the
    parts of its programs there. indexed: elements of the rows that are read from it or stored in it by
    an index, 0 where there is none. buffer: the input in whose memory an output is stored, -1 for its own.
    """

    dtype: str
    shape: tuple[int | None, ...]
    row_like: bool
    row_width: int
    layout: Layout = "row_major"
    zeroed: bool = False
    indexed: int = 0
    buffer: int = -1

    @property
    def row_multiple(self) -> int:
        """Rows are stored up to a multiple of this."""
        return LAYOUTS[self.layout].row_multiple if self.layout in LAYOUTS else 1

    def num_bytes(self, num_rows: int) -> int:
        """Bytes of the whole tensor when the program runs over `num_rows` rows."""
        if self.indexed:
            return num_rows * self.indexed * element_bytes(self.dtype)
        rows = -(-num_rows // self.row_multiple) * self.row_multiple if self.row_like else 1
        return rows * self.row_width * element_bytes(self.dtype)


@dataclass(frozen=True)
class RowProgram:
    """One fused kernel, not yet scheduled.

    name: the kernel's symbol; equal programs have equal names. symbol: its `sym_name` in the
    grouped module, unique there. ir: a module that holds nothing but this program, without
    locations. full_row: a reduction spans the row, so block_cols must be 0. composites: the named
    parts, in program order. num_rows: product of the token dimensions, None when one is dynamic.
    parts: the kernels it would be unfused. column_unit: block_cols and chunk_cols are this times
    a power of two; 0 when unknown, and then no row is cut or split. segment_widths: the row widths of the
    parts that share a launch but no row, which programs are dealt out among.
    """

    name: str
    symbol: str
    ir: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    row_width: int
    full_row: bool
    composites: tuple[str, ...]
    key: str
    num_rows: int | None = None
    parts: tuple[Part, ...] = ()
    column_unit: int = 0
    segment_widths: tuple[int, ...] = ()

    @property
    def buffers(self) -> tuple[int, ...]:
        """The inputs whose memory the program writes, in the order of the outputs stored there."""
        return tuple(spec.buffer for spec in self.outputs if spec.buffer >= 0)

    def columns(self, block_cols: int) -> int:
        """How many programs share a row of the launch grid."""
        widths = self.segment_widths or (self.row_width,)
        return sum(-(-width // block_cols) if block_cols else 1 for width in widths)

    @property
    def row_multiple(self) -> int:
        """Programs are launched for rows up to a multiple of this: those that pad a result are beyond the
        last one."""
        return max((spec.row_multiple for spec in self.outputs), default=1)

    def num_bytes(self, num_rows: int) -> int:
        """Bytes that one run over `num_rows` rows must read and write."""
        read = (spec for index, spec in enumerate(self.inputs) if index not in self.buffers)
        return sum(spec.num_bytes(num_rows) for spec in (*read, *self.outputs))

    def unfused_bytes(self, num_rows: int) -> int:
        """Bytes that its parts would read and write as kernels of their own."""
        return sum(part.num_bytes(num_rows) for part in self.parts)


@dataclass(frozen=True)
class Grouped:
    """A graph after grouping.

    module_text: the grouped module, with locations. programs: in the order of their
    `epiq.row_program` ops. remarks: what raise and group said. stages: pass name -> module text
    after it, in order, "import" first.
    """

    module_text: str
    programs: tuple[RowProgram, ...]
    remarks: tuple[Diagnostic, ...]
    stages: dict[str, str]
