"""Running row programs: the `epiq::row_program` op, its kernels, and their launch on GPU or CPU."""

from epiq.runtime.kernel import Kernel
from epiq.runtime.registry import lookup, register
from epiq.runtime.shapes import Dim, OutputSpec

__all__ = ["Dim", "Kernel", "OutputSpec", "lookup", "register"]
