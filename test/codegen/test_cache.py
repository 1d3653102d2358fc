"""The disk cache: what goes in comes out, and damage is a miss that says so."""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from epiq.codegen.cache import DiskCache, cache_dir, key_of

SECTIONS = {"text": b"one\ntwo", "binary": bytes(range(256)), "empty": b""}


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "entries", "kernel")


def test_round_trip(cache):
    assert cache.get("key") is None
    cache.put("key", SECTIONS)
    assert cache.get("key") == SECTIONS
    assert [path.name for path in cache.entries()] == ["key.kernel"]
    assert os.listdir(cache.folder) == ["key.kernel"]


def test_clear(cache):
    cache.put("a", SECTIONS)
    cache.put("b", SECTIONS)
    assert cache.clear() == 2
    assert cache.get("a") is None
    assert cache.clear() == 0


def test_a_second_put_replaces_the_first(cache):
    cache.put("key", {"text": b"old"})
    cache.put("key", {"text": b"new"})
    assert cache.get("key") == {"text": b"new"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "it is not a cache entry"),
        (lambda data: b"junk\n" + data, "it is not a cache entry"),
        (lambda data: b"\x80\x04K\x01.", "it is not a cache entry"),
        (lambda data: data[:-1], "its checksum does not fit its contents"),
        (lambda data: data + b"x", "its checksum does not fit its contents"),
        (lambda data: data.replace(b"two", b"tow"), "its checksum does not fit its contents"),
        (lambda data: data.replace(b"epiq-cache 1", b"epiq-cache 9"), "its format is 9, not 1"),
    ],
)
def test_damage_is_a_miss_with_a_warning_and_is_repaired(cache, damage, reason):
    cache.put("key", SECTIONS)
    path = cache.path("key")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=f"key.kernel is ignored: {reason}"):
        assert cache.get("key") is None
    cache.put("key", SECTIONS)
    assert cache.get("key") == SECTIONS


def test_an_entry_under_anothers_name_is_foreign(cache):
    cache.put("one", SECTIONS)
    cache.path("one").rename(cache.path("two"))
    with pytest.warns(UserWarning, match="it holds kernel one, not kernel two"):
        assert cache.get("two") is None


@pytest.mark.parametrize("index", [b"{}", b"[]", b'{"key": "key", "kind": "kernel"}'])
def test_a_strange_index_under_a_good_checksum(cache, index):
    payload = index + b"\n"
    header = b"epiq-cache 1 %s\n" % hashlib.sha256(payload).hexdigest().encode()
    cache.folder.mkdir()
    cache.path("key").write_bytes(header + payload)
    with pytest.warns(UserWarning, match=r"key.kernel is ignored"):
        assert cache.get("key") is None


def test_a_folder_in_the_place_of_an_entry(cache):
    cache.path("key").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"key.kernel cannot be read"):
        assert cache.get("key") is None


def test_an_unwritable_folder_forgets_and_says_so_once(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    cache = DiskCache(blocker / "entries", "kernel")
    with pytest.warns(UserWarning, match="cannot be written"):
        cache.put("key", SECTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put("key", SECTIONS)


def test_writers_at_once_leave_a_whole_entry(cache):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.put("key", {"text": bytes([n]) * 100_000}), range(32)))
    entry = cache.get("key")
    assert entry is not None and len(set(entry["text"])) == 1
    assert os.listdir(cache.folder) == ["key.kernel"]


def test_keys_depend_on_every_fact_and_not_on_their_order():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2}) != key_of({"b": 2})


def test_the_folder_is_the_variable_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("EPIQ_CACHE_DIR")
    assert cache_dir().name == "epiq"
