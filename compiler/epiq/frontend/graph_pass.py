"""The pass as Inductor runs it: before its joint passes, which drop casts that matter to us."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph

from epiq.config import Settings
from epiq.frontend.plan import Prepare
from epiq.frontend.record import CompilationRecord, new_record
from epiq.frontend.rewrite import UnfusedError, rewrite_graph
from epiq.frontend.unwrap import UnwrapError
from epiq.report.artifacts import publish
from epiq.runtime.notices import warn_once


class FuseQuantization(CustomGraphPass):
    """Rewrites each graph once. An error of ours leaves the graph to Inductor and is warned about.

    device_reason: says why graphs on the device of this compilation are left alone, "" for none.
    first: a pass of the user's that runs before, as it would have without ours.
    """

    def __init__(
        self,
        settings: Settings,
        prepare: Prepare,
        first: Callable[[Graph], None] | None = None,
        on_record: Callable[[CompilationRecord], None] | None = None,
    ) -> None:
        self.settings = settings
        self.prepare = prepare
        self.first = first
        self.on_record = on_record

    def __call__(self, graph: Graph) -> None:
        if self.first is not None:
            self.first(graph)
        record = new_record()
        try:
            rewrite_graph(graph, self.settings, self.prepare, record)
        except (UnfusedError, UnwrapError):
            raise
        except Exception as error:
            if self.settings.strict:
                raise
            record.left_alone = f"{type(error).__name__}: {error}"
            warn_once(f"epiq left a graph to Inductor: {record.left_alone}")
        publish(record, str(self.settings.dump))
        if self.on_record is not None:
            self.on_record(record)

    def uuid(self) -> Any:
        """Part of the key of Inductor's cache of compiled graphs, which it looks up after this pass."""
        return f"epiq {source_digest()} {self.settings!r}"


@lru_cache(1)
def source_digest() -> str:
    """A hash of this package's Python sources."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
