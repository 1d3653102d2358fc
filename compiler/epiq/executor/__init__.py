"""Runs Triton IR on the CPU with torch, faithfully and with every access checked.

```python
from epiq.executor import run, uninitialized

y = uninitialized((64, 4096), torch.bfloat16)
report = run(text, grid=(64, 1, 1), args=[x, w, y, 64, 4096])
```

Rules of the checks (A1-A5): access.py. Casts: floats.py. Order of sums: ops/reduce.py, ops/dot.py.
An op that cannot run is an `UnsupportedError` naming it and its line.
"""

from epiq.executor.errors import ExecutionError
from epiq.executor.executor import Executor, Report, run
from epiq.executor.memory import mark_uninitialized, uninitialized

__all__ = ["ExecutionError", "Executor", "Report", "mark_uninitialized", "run", "uninitialized"]
