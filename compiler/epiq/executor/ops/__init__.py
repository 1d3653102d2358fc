"""The op table, one file a kind of op; importing this package fills it."""

from epiq.executor.ops import (
    arith,
    assembly,
    atomics,
    casts,
    control,
    descriptors,
    dot,
    extern,
    floats,
    math,
    memory,
    programs,
    reduce,
    shape,
)

__all__ = [
    "arith",
    "assembly",
    "atomics",
    "casts",
    "control",
    "descriptors",
    "dot",
    "extern",
    "floats",
    "math",
    "memory",
    "programs",
    "reduce",
    "shape",
]
