"""From graph IR to Triton IR: runs the passes, and describes each row program they made.

grouped = optimize(module_text)                     # raise, group
schedule = default_schedule(grouped.programs[0], num_rows, target)
text = lower(grouped.programs[0], schedule, target=target)  # Triton IR with one public function
"""

from epiq.pipeline.lowering import lower
from epiq.pipeline.optimize import optimize
from epiq.pipeline.program import Grouped, RowProgram, Schedule, TensorSpec
from epiq.pipeline.schedule import default_schedule

__all__ = [
    "Grouped",
    "RowProgram",
    "Schedule",
    "TensorSpec",
    "default_schedule",
    "lower",
    "optimize",
]
