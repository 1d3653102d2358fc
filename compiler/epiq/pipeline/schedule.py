"""The schedule that a row program starts with.

A thread moves 16 bytes of the widest tensor at a time: `lane` neighbouring elements. A row that a reduction
spans is one tile if its width is a power of two, and else a few chunks, so that little or nothing is padded.
Other rows are cut in columns. How many threads share a tile depends on how many programs there are: a few
must each hide their own latency, with many threads that each hold little; many hide each other's, and a
program of few threads wastes less on its reductions. The numbers are fitted to what
examples/bench/schedules.py measured on an H200.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epiq.pipeline.program import RowProgram, Schedule
from epiq.pipeline.tensor_type import element_bytes

if TYPE_CHECKING:
    from epiq.codegen import Target

_VECTOR_BYTES = 16
_THREADS_OF_WARP = 32
_MAX_WARPS = 16
# Multiprocessors of an H100 and a B200.
_MULTIPROCESSORS = {90: 132, 100: 148}
# Threads that share a row, and what they may hold of it.
_FEW_ROWS_THREADS, _MANY_ROWS_THREADS = 256, 128
_MAX_THREAD_ELEMENTS = 64
# Rows for each multiprocessor from which on there are many.
_MANY_ROWS_EACH = 6
# Each op is written out for each chunk, and each thread holds elements of all of them.
_MAX_CHUNKS = 12
_CHUNK_COLS = range(128, 4096 + 1)
# Elements of a tile of a row that is cut, in vectors, and how many tiles for each multiprocessor are many.
_TILE_LANES = 128
_MANY_TILES_EACH = 16
# A row is cut into tiles of a width that divides it, if that is at least this part of a tile.
_LEAST_CUT = 1 / 8


def default_schedule(program: RowProgram, num_rows: int, target: Target) -> Schedule:
    """Rows, columns and warps of one Triton program.

    The chunks of a row and the warps that share it set the order of its sums: they depend on the row's
    width, its widest tensor and the number of rows, and on nothing else, so that fused and unfused forms
    agree. (Groups that are no power of two, or wider than a chunk, are the exception.)
    """
    processors = _MULTIPROCESSORS.get(target.arch, _MULTIPROCESSORS[100])
    if program.full_row or not program.column_unit:
        return _whole_rows(program, num_rows, processors)
    return _cut_rows(program, num_rows, processors)


def _whole_rows(program: RowProgram, num_rows: int, processors: int) -> Schedule:
    chunk = chunk_cut(program.row_width, program.column_unit or program.row_width)
    padded = _padded(chunk, program.column_unit or program.row_width)
    chunks = -(-program.row_width // chunk)
    chunk_cols = chunk if chunks > 1 else 0
    lane = lane_elements(program)
    if num_rows >= _MANY_ROWS_EACH * processors:
        threads = min(_MANY_ROWS_THREADS, padded // lane)
    else:
        threads = min(_FEW_ROWS_THREADS, 2 * padded // lane)
    threads = max(1, threads)
    while padded * chunks > _MAX_THREAD_ELEMENTS * threads:
        threads *= 2
    if threads >= 4 * _THREADS_OF_WARP or chunks > 1:
        warps = max(1, min(_MAX_WARPS, threads // _THREADS_OF_WARP))
        return Schedule(num_warps=warps, chunk_cols=chunk_cols)
    # Narrow rows: four warps take several of them, as long as every processor has work.
    rows = _previous_power_of_two(max(1, 4 * _THREADS_OF_WARP // threads))
    spread = _previous_power_of_two(max(1, num_rows // (processors * _MANY_ROWS_EACH)))
    rows = min(rows, spread)
    warps = max(1, min(4, rows * threads // _THREADS_OF_WARP))
    return Schedule(block_rows=rows, num_warps=warps, chunk_cols=chunk_cols)


def _cut_rows(program: RowProgram, num_rows: int, processors: int) -> Schedule:
    lane = lane_elements(program)
    tile = _TILE_LANES * lane
    columns = column_cut(program.row_width, program.column_unit, tile)
    if columns >= program.row_width:
        return _whole_rows(program, num_rows, processors)
    padded = _padded(columns, program.column_unit)
    rows = _previous_power_of_two(max(1, min(tile // padded, num_rows)))
    tiles = -(-num_rows // rows) * -(-program.row_width // columns)
    vectors = 2 if tiles >= _MANY_TILES_EACH * processors else 1
    warps = max(1, min(4, rows * padded // (vectors * lane * _THREADS_OF_WARP)))
    return Schedule(block_rows=rows, block_cols=columns, num_warps=warps)


def lane_elements(program: RowProgram) -> int:
    """Neighbouring elements of a row that one thread holds: 16 bytes of the widest tensor."""
    tensors = [spec for spec in (*program.inputs, *program.outputs) if spec.row_like]
    wide = [element_bytes(spec.dtype) for spec in tensors if spec.row_width >= program.row_width]
    return _VECTOR_BYTES // max(wide, default=1)


def column_cut(width: int, unit: int, tile: int) -> int:
    """The columns of a tile: `unit` times a power of two, at most `tile` unless one unit is more.

    The widest that leaves nothing over, if it is not much narrower than `tile`; else the one that
    leaves least over. Returns at least `width` when the row is best not cut.
    """
    candidates = [unit]
    while 2 * candidates[-1] <= tile and candidates[-1] < width:
        candidates.append(2 * candidates[-1])
    wide = [columns for columns in candidates if columns >= _LEAST_CUT * tile] or candidates[-1:]
    return min(wide, key=lambda columns: (-(-width // columns) * columns, -columns))


def chunk_cut(width: int, unit: int) -> int:
    """The columns of a chunk: `unit` times a power of two, with the least padding, the widest of equals.

    Returns at least `width` when the row is best left whole.
    """
    candidates = [unit]
    while candidates[-1] < width:
        candidates.append(2 * candidates[-1])
    whole = candidates[-1]
    if whole == width:
        return whole

    def fits(columns: int) -> bool:
        return columns == whole or (columns in _CHUNK_COLS and width <= _MAX_CHUNKS * columns)

    return min(filter(fits, candidates), key=lambda columns: (-(-width // columns) * columns, -columns))


def _padded(columns: int, unit: int) -> int:
    """Elements of a tile of `columns`, a power of two."""
    return _next_power_of_two(unit) * (columns // unit)


def _next_power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def _previous_power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)
