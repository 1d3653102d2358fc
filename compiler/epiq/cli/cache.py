"""`epiq cache`: what is kept on disk, compiled kernels and measured schedules."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from epiq.cli.console import console

if TYPE_CHECKING:
    from epiq.codegen.cache import DiskCache

app = typer.Typer(help="Look at what is kept on disk, check it, empty it.", no_args_is_help=True)


@app.command("ls")
def ls() -> None:
    """List the entries: when written, bytes, kind, key, what it holds."""
    from epiq.codegen.cache import all_caches, cache_dir

    total = count = 0
    for cache in all_caches():
        for path in cache.entries():
            status = path.stat()
            written = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
            text = (
                f"{written}  {status.st_size:9d}  {cache.kind:8}  {path.stem[:16]}  {_describe(cache, path)}"
            )
            console.print(Text(text))
            total += status.st_size
            count += 1
    console.print(Text(f"{count} entries, {total / 1e6:.1f} MB in {cache_dir()}"))


@app.command("clear")
def clear() -> None:
    """Remove every entry."""
    from epiq.codegen.cache import all_caches, cache_dir

    removed = sum(cache.clear() for cache in all_caches())
    console.print(Text(f"removed {removed} entries from {cache_dir()}"))


@app.command("verify")
def verify() -> None:
    """Read every entry and compare its checksum. Exit code 1 when one is damaged."""
    from epiq.codegen.cache import all_caches, cache_dir

    damaged = count = 0
    for cache in all_caches():
        for path in cache.entries():
            count += 1
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                damaged += cache.get(path.stem) is None
            for warning in caught:
                console.print(Text(str(warning.message)))
    console.print(Text(f"{count} entries, {damaged} damaged, in {cache_dir()}"))
    if damaged:
        raise typer.Exit(1)


def _describe(cache: DiskCache, path: Path) -> str:
    """A kernel's name and target, what a schedule or a decision is for; "damaged" where it does not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sections = cache.get(path.stem)
    if sections is None:
        return "damaged"
    if "decision" in sections:
        decision = json.loads(sections["decision"])
        if "chosen" in decision:
            return f"{decision.get('group', '?')} {decision.get('tokens', '?')} tokens: {decision['chosen']}"
        return f"{decision.get('name', '?')} {decision.get('rows', '?')} rows"
    metadata = json.loads(sections["metadata"])
    target = metadata.get("target")
    arch = target.get("arch") if isinstance(target, dict) else metadata.get("arch", "")
    return f"{metadata.get('name', '?')} {arch}".rstrip()
