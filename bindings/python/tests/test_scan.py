"""Iterators: one moment, in order, a piece at a time, and what becomes of those that nobody finishes."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import Run

import kvwal

# Several pieces, the last of them not full.
MANY = 2000
KEYS = [b"key/%06d" % number for number in range(MANY)]


@pytest.fixture
def db(path: Path) -> Iterator[kvwal.Store]:
    """Here nothing has to be durable, but there are many writes."""
    with kvwal.Store(path, sync=kvwal.SyncMode.NONE) as store:
        yield store


@pytest.fixture
def full(db: kvwal.Store) -> kvwal.Store:
    with db.batch() as batch:
        for key in KEYS:
            batch[key] = key.upper()
    return db


def scanning() -> int:
    return sum(thread.name == "kvwal scan" for thread in threading.enumerate())


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    eventually(lambda: scanning() == 0)


def test_order_and_prefix(db: kvwal.Store) -> None:
    for key in (b"b/2", b"a", b"b/1", b"\xff", b""):
        db[key] = key * 2
    assert list(db) == list(db.keys()) == [b"", b"a", b"b/1", b"b/2", b"\xff"]
    assert list(db.items(prefix=b"b/")) == [(b"b/1", b"b/1b/1"), (b"b/2", b"b/2b/2")]
    assert list(db.values(b"b/")) == [b"b/1b/1", b"b/2b/2"]
    assert list(db.keys(b"c")) == []


def test_many(full: kvwal.Store) -> None:
    assert list(full) == KEYS
    assert list(full.values()) == [key.upper() for key in KEYS]
    scan = full.items()
    assert list(scan) == [(key, key.upper()) for key in KEYS]
    assert list(scan) == []


def test_one_moment(full: kvwal.Store) -> None:
    scan = full.keys()
    for key in KEYS:
        del full[key]
    full[b"key/new"] = b""
    assert list(scan) == KEYS
    assert list(full) == [b"key/new"]


def test_a_piece_at_a_time(full: kvwal.Store) -> None:
    scan = full.keys()
    for _ in range(10):
        next(scan)
    assert scanning() == 1
    assert scan._items.__length_hint__() + 10 < MANY  # type: ignore[attr-defined]
    scan.close()


def test_large_values_are_a_piece_each(db: kvwal.Store) -> None:
    for key in (b"1", b"2", b"3"):
        db[key] = key * (2 << 20)
    scan = db.items()
    assert next(scan) == (b"1", b"1" * (2 << 20))
    assert scan._items.__length_hint__() == 0  # type: ignore[attr-defined]
    assert [key for key, _ in scan] == [b"2", b"3"]


def test_abandoned(full: kvwal.Store) -> None:
    for key in full:
        break
    del key
    gc.collect()
    eventually(lambda: scanning() == 0)


def test_closed(full: kvwal.Store) -> None:
    with full.keys() as scan:
        assert next(scan) == KEYS[0]
    scan.close()
    with pytest.raises(kvwal.ClosedError):
        next(scan)
    eventually(lambda: scanning() == 0)


def test_closing_the_store_ends_its_iterators(path: Path) -> None:
    db = kvwal.Store(path)
    with db.batch() as batch:
        for key in KEYS:
            batch[key] = b""
    scans = [db.keys() for _ in range(5)]
    short = db.keys(prefix=KEYS[0])
    for scan in scans:
        next(scan)
    db.close()
    for scan in (*scans, short):
        with pytest.raises(kvwal.ClosedError):
            next(scan)


def test_an_iterator_keeps_its_store(path: Path) -> None:
    with kvwal.Store(path) as db, db.batch() as batch:
        for key in KEYS:
            batch[key] = b""
    scan = kvwal.Store(path).keys()
    gc.collect()
    assert list(scan) == KEYS
    with pytest.warns(ResourceWarning):
        del scan
        gc.collect()


def test_writing_while_iterating(full: kvwal.Store) -> None:
    for key, value in full.items():
        full[key] = value[:3]
        full[key + b"/more"] = b""
    assert len(full) == 2 * MANY


def test_several_threads_share_an_iterator(full: kvwal.Store) -> None:
    scan = full.keys()
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.extend(scan)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == KEYS


def test_iterator_left_open_at_exit(path: Path, run: Run) -> None:
    program = """
import sys, warnings, kvwal
warnings.simplefilter("ignore")
db = kvwal.Store(sys.argv[1], sync=kvwal.SyncMode.INTERVAL, sync_interval=3600)
for number in range(5000):
    db[b"%d" % number] = b"value"
scan = db.keys()
print(next(scan))
"""
    process = run(program, path)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (0, "b'0'\n", "")
    with kvwal.Store(path) as db:
        assert len(db) == 5000
