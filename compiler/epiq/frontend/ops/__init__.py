"""The emitters: one function a known op, found by `EMITTERS[node.target]`.

An emitter returns the node's value (or a tuple of them for a node that is unpacked), or None when
it cannot take this use of the op; the node is then imported as an opaque one.
"""

from __future__ import annotations

from epiq.frontend.ops import constants, functions, indexing, pointwise, reductions, views
from epiq.frontend.ops.table import EMITTERS, Scope

__all__ = ["EMITTERS", "Scope", "constants", "functions", "indexing", "pointwise", "reductions", "views"]
