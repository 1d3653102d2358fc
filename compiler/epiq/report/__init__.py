"""What was fused into what, what was not and why, and what it saves.

print(epiq.explain(model, *inputs))
"""

from epiq.report.build import explain, report_of
from epiq.report.model import GraphReport, KernelReport, Quantization, Report

__all__ = ["GraphReport", "KernelReport", "Quantization", "Report", "explain", "report_of"]
