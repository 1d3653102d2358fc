"""Contexts, modules and passes: the one door to the MLIR bindings.

Modules keep their context alive. A context knows our dialects and the upstream ones that
graph IR and Triton IR use, and lets ops of other dialects through as opaque ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from epiq._mlir import ir
from epiq._mlir._mlir_libs import _epiqRegistration as _native
from epiq._mlir.passmanager import PassManager
from epiq.errors import IRError, PassError

__all__ = ["Diagnostic", "context", "ir", "parse", "print_triton", "run_passes", "source_version"]


@dataclass(frozen=True)
class Diagnostic:
    """What a pass said about an op: `severity` is error, warning, remark or note."""

    severity: str
    message: str
    location: str


def context() -> ir.Context:
    """Returns a new context with all dialects loaded and unregistered ones allowed."""
    ctx = ir.Context()
    ctx.allow_unregistered_dialects = True
    return ctx


def parse(text: str, *, filename: str = "<ir>", ctx: ir.Context | None = None) -> ir.Module:
    """Parses and verifies a module.

    Raises: IRError "file:line:col: reason" if the text is no valid IR.
    """
    ctx = ctx or context()
    _native.reset_source_version(ctx)
    try:
        return ir.Module.parse(_as_bytes(text), context=ctx)
    except ir.MLIRError as error:
        raise IRError(_first_reason(error.error_diagnostics, filename)) from None


def run_passes(module: ir.Module, pipeline: str) -> list[Diagnostic]:
    """Runs a pass pipeline such as `builtin.module(epiq-raise)` on `module`, in place.

    Returns: the diagnostics that the passes emitted, in order.
    Raises: PassError if a pass fails or `pipeline` is none; its message holds what was said.
    """
    said: list[Diagnostic] = []

    def hear(diagnostic: Any) -> bool:
        said.append(_diagnostic(diagnostic))
        return True

    if not pipeline.startswith("builtin.module("):
        pipeline = f"builtin.module({pipeline})"
    with module.context as ctx:
        handler = ctx.attach_diagnostic_handler(hear)
        try:
            PassManager.parse(pipeline).run(module.operation)
        except (ir.MLIRError, ValueError) as error:
            raise PassError(_failure(error, said)) from None
        finally:
            handler.detach()
    return said


def print_triton(module: ir.Module, version: str = "3.6", *, locations: bool = False) -> str:
    """Returns the module's text as Triton of that version reads it ("3.6" or "3.9").

    Raises: PassError, naming the op, if that version has no such op. ValueError for another version.
    """
    if version not in ("3.6", "3.9"):
        raise ValueError(f"version {version!r} is neither '3.6' nor '3.9'")
    said: list[Diagnostic] = []

    def hear(diagnostic: Any) -> bool:
        said.append(_diagnostic(diagnostic))
        return True

    with module.context as ctx:
        handler = ctx.attach_diagnostic_handler(hear)
        try:
            text: str | None = _native.print_triton(module.operation, version, locations)
        finally:
            handler.detach()
    if text is None:
        raise PassError("\n".join(f"{d.location}: {d.message}" for d in said))
    return text


def source_version(module: ir.Module) -> str | None:
    """Returns the Triton version whose spelling the module's text used, "3.6" or "3.9", if it tells.

    When a context parsed several texts, the answer is that of the last one.
    """
    return _native.source_version(module.context) or None


def _as_bytes(text: str) -> str:
    if "\0" in text:
        raise IRError("<ir>:1:1: the text holds a NUL character")
    return text


def _diagnostic(diagnostic: Any) -> Diagnostic:
    severity = str(diagnostic.severity).rsplit(".", 1)[-1].lower()
    return Diagnostic(severity, diagnostic.message, str(diagnostic.location))


def _failure(error: Exception, said: list[Diagnostic]) -> str:
    errors = [f"{d.location}: {d.message}" for d in said if d.severity == "error"]
    for info in getattr(error, "error_diagnostics", []):
        errors.append(f"{info.location}: {info.message}")
        errors.extend(f"{note.location}: {note.message}" for note in info.notes)
    return "\n".join(errors) or str(error)


def _first_reason(diagnostics: list[Any], filename: str) -> str:
    if not diagnostics:
        return f"{filename}:1:1: no valid IR"
    first = diagnostics[0]
    return f"{_position(first.location, filename)}: {first.message}"


def _position(location: Any, filename: str) -> str:
    try:
        return f"{filename}:{location.start_line}:{location.start_col}"
    except (AttributeError, ValueError):
        return f"{filename}:{location}"
