"""A cache on disk: one file an entry, written whole and renamed, checksummed, never pickled.

An entry is a set of named byte strings. Its file is one header line and one line of JSON, then the bytes:

    epiq-cache 1 <sha256 of all that follows>
    {"key": .., "kind": .., "sections": [[name, length], ..]}
    <sections, one after the other>

A file that does not read so, or that belongs to another key, is a miss with a warning, and is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import platformdirs

from epiq.config import resolve

FORMAT = 1
_MAGIC = b"epiq-cache"


def cache_dir() -> Path:
    """Where caches live: the option `cache_dir`, or the user's cache folder."""
    override = resolve().cache_dir
    return Path(override) if override else Path(platformdirs.user_cache_dir("epiq", appauthor=False))


def kernel_cache() -> DiskCache:
    """The cache of compiled kernels."""
    return DiskCache(cache_dir() / "kernels", "kernel")


def schedule_cache() -> DiskCache:
    """The cache of schedules that were measured."""
    return DiskCache(cache_dir() / "schedules", "schedule")


def decision_cache() -> DiskCache:
    """The cache of measured decisions between fused kernels and the library's."""
    return DiskCache(cache_dir() / "decisions", "decision")


def all_caches() -> tuple[DiskCache, ...]:
    """Every cache that this package keeps."""
    return kernel_cache(), schedule_cache(), decision_cache()


def key_of(facts: Mapping[str, object]) -> str:
    """The key of an entry: a sha256 of the facts that shaped it, which must be plain JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class DiskCache:
    """Entries of one kind in one folder; where nothing can be written it forgets, and says so once."""

    _unwritable: ClassVar[set[Path]] = set()

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind

    def path(self, key: str) -> Path:
        """The file of an entry."""
        return self.folder / f"{key}.{self.kind}"

    def get(self, key: str) -> dict[str, bytes] | None:
        """The entry's sections, or None. Damage is a warning and a miss."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            warnings.warn(f"cache entry {path} cannot be read: {error}", stacklevel=2)
            return None
        try:
            return _decode(data, key, self.kind)
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"cache entry {path} is ignored: {error}", stacklevel=2)
            return None

    def put(self, key: str, sections: Mapping[str, bytes]) -> None:
        """Writes an entry; readers see the old file or the whole new one."""
        temporary: str | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_encode(key, self.kind, sections))
            os.replace(temporary, self.path(key))
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if self.folder not in self._unwritable:
                self._unwritable.add(self.folder)
                warnings.warn(f"cache folder {self.folder} cannot be written: {error}", stacklevel=2)

    def entries(self) -> Iterator[Path]:
        """The files of all entries, in the order of their names."""
        yield from sorted(self.folder.glob(f"*.{self.kind}"))

    def clear(self) -> int:
        """Removes all entries; returns how many."""
        removed = 0
        for path in self.entries():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                removed += 1
        return removed


def _encode(key: str, kind: str, sections: Mapping[str, bytes]) -> bytes:
    index = {"key": key, "kind": kind, "sections": [[name, len(data)] for name, data in sections.items()]}
    payload = json.dumps(index).encode() + b"\n" + b"".join(sections.values())
    return b"%s %d %s\n" % (_MAGIC, FORMAT, hashlib.sha256(payload).hexdigest().encode()) + payload


def _decode(data: bytes, key: str, kind: str) -> dict[str, bytes]:
    header, newline, payload = data.partition(b"\n")
    fields = header.split(b" ")
    if not newline or len(fields) != 3 or fields[0] != _MAGIC:
        raise ValueError("it is not a cache entry")
    if fields[1] != b"%d" % FORMAT:
        raise ValueError(f"its format is {fields[1].decode(errors='replace')}, not {FORMAT}")
    if fields[2] != hashlib.sha256(payload).hexdigest().encode():
        raise ValueError("its checksum does not fit its contents")
    first, _, rest = payload.partition(b"\n")
    index = json.loads(first)
    if index["key"] != key or index["kind"] != kind:
        raise ValueError(f"it holds {index['kind']} {index['key']}, not {kind} {key}")
    sections, offset = {}, 0
    for name, length in index["sections"]:
        sections[name] = rest[offset : offset + length]
        offset += length
    if offset != len(rest):
        raise ValueError(f"it holds {len(rest)} bytes, its index names {offset}")
    return sections
