"""Producers with a library alternative: ops whose kernels can take a row program as their epilogue.

A row program reads the result of a matrix product (or of attention) from memory. Here the two become one
group, which the graph holds as one call, and which is computed in one of several ways:

    library        the torch op itself, then the row program
    fused kernels  kernels of ours that make the result tile by tile and compute on each tile what the row
                   program does: all of it, or its head (split.py), after which a smaller row program follows

`epiq.runtime.decide` measures them. A kind of producer is one file with two things: a function that reads an
FX node, registered in `READERS`, and a class with the interface of `Producer` (base.py). It knows its op's
arguments and its kernels; it never looks at what the row program computes, which reaches its kernels as an
epilogue in IR (tile.py). The row programs and their legality rules are those of `epiq-group`.

A row program stays apart from the producer of its input where
  P1  the kernels do not compute the producer in this form: dtypes, scales, layouts, batches
  P2  it reads only a part of the result, or not as rows
  P3  another node reads the result and feeds the program, or reads a step on the way to it, or memory is
      written between the two
  P4  another node reads one of two results that would be made side by side
  P5  a reduction spans the row, of which a tile has a part, and nothing could be computed before it
  P6  no kernel can take the epilogue: a rule E1 to E9 of `epiq-fuse-epilogue`, for each config
  P7  a result has a layout that tiles do not store
  P8  the program stores rows by index, or its results have rows of several widths
"""

from epiq.producers.base import FusedKernel, Producer, Reading
from epiq.producers.errors import ProducerError
from epiq.producers.read import READERS, read_producer, read_side_by_side

__all__ = [
    "READERS",
    "FusedKernel",
    "Producer",
    "ProducerError",
    "Reading",
    "read_producer",
    "read_side_by_side",
]
