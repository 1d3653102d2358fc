"""Between torch's FX graphs and graph-level IR: import, export, capture."""

from epiq.frontend.capture import capture
from epiq.frontend.record import CompilationRecord, recent_records, recording

__all__ = ["CompilationRecord", "capture", "recent_records", "recording"]
