"""The op table is complete: every op of the mirror dialect runs or is part of another."""

from __future__ import annotations

import importlib

import pytest

import epiq.executor.ops  # noqa: F401  (fills the table)
from epiq.executor.registry import HANDLERS

# Functions and terminators are read by the compiler of functions, not by a handler.
STRUCTURE = {"tt.func", "tt.return", "tt.reduce.return", "tt.scan.return", "tt.map_elementwise.return"}
ARITH = (
    "addf addi addui_extended andi bitcast ceildivsi ceildivui cmpf cmpi constant divf divsi divui extf extsi"
    " extui floordivsi fptosi fptoui index_cast index_castui maximumf maxnumf maxsi maxui minimumf minnumf"
    " minsi minui mulf muli mulsi_extended mului_extended negf ori remf remsi remui select shli shrsi shrui"
    " sitofp subf subi truncf trunci uitofp xori"
)
MATH = (
    "absf absi acos acosh asin asinh atan atan2 atanh cbrt ceil clampf copysign cos cosh ctlz ctpop cttz erf"
    " erfc exp exp2 expm1 floor fma fpowi ipowi isfinite isinf isnan isnormal log log10 log1p log2 powf round"
    " roundeven rsqrt sin sincos sinh sqrt tan tanh trunc"
)
OTHER = "scf.for scf.if scf.while ub.poison llvm.intr.assume gpu.barrier ttg.barrier"


def dialect_ops(name: str) -> set[str]:
    """Names of the ops that the bindings of a dialect define."""
    module = importlib.import_module(f"epiq._mlir.dialects._{name}_ops_gen")
    found = {getattr(value, "OPERATION_NAME", None) for value in vars(module).values()}
    return {op for op in found if isinstance(op, str) and op.startswith(f"{name}.")}


def test_every_op_of_the_mirror_dialect_runs() -> None:
    ops = dialect_ops("tt")
    assert len(ops) > 30
    assert not ops - STRUCTURE - set(HANDLERS)


@pytest.mark.parametrize(("name", "ops"), [("arith", ARITH), ("math", MATH)])
def test_every_op_of_the_upstream_dialects_that_triton_uses_runs(name: str, ops: str) -> None:
    assert not {f"{name}.{op}" for op in ops.split()} - set(HANDLERS)


def test_control_flow_and_synchronization_run() -> None:
    assert not set(OTHER.split()) - set(HANDLERS)
