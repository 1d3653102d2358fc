"""`epiq cache`: the compiled kernels on disk."""

from __future__ import annotations

import time
import warnings

import typer
from rich.text import Text

from epiq.cli.console import console

app = typer.Typer(help="Look at the cache of compiled kernels, check it, empty it.", no_args_is_help=True)


@app.command("ls")
def ls() -> None:
    """List the entries: when written, bytes, kernel, target."""
    from epiq.codegen import kernel_cache

    cache = kernel_cache()
    total = count = 0
    for path in cache.entries():
        status = path.stat()
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
        console.print(Text(f"{written}  {status.st_size:9d}  {path.stem[:16]}  {_describe(path.stem)}"))
        total += status.st_size
        count += 1
    console.print(Text(f"{count} entries, {total / 1e6:.1f} MB in {cache.folder}"))


@app.command("clear")
def clear() -> None:
    """Remove every entry."""
    from epiq.codegen import kernel_cache

    cache = kernel_cache()
    console.print(Text(f"removed {cache.clear()} entries from {cache.folder}"))


@app.command("verify")
def verify() -> None:
    """Read every entry and compare its checksum. Exit code 1 when one is damaged."""
    from epiq.codegen import kernel_cache

    cache = kernel_cache()
    damaged = count = 0
    for path in cache.entries():
        count += 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if cache.get(path.stem) is None:
                damaged += 1
        for warning in caught:
            console.print(Text(str(warning.message)))
    console.print(Text(f"{count} entries, {damaged} damaged, in {cache.folder}"))
    if damaged:
        raise typer.Exit(1)


def _describe(key: str) -> str:
    """The kernel's name and target, "damaged" when the entry does not read."""
    import json

    from epiq.codegen import kernel_cache

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sections = kernel_cache().get(key)
    if sections is None:
        return "damaged"
    metadata = json.loads(sections["metadata"])
    target = metadata.get("target")
    arch = target.get("arch") if isinstance(target, dict) else metadata.get("arch", "")
    return f"{metadata.get('name', '?')} {arch}".rstrip()
