"""Feeds: every durable record, in order, and what ends the waiting for the next one."""

from __future__ import annotations

import gc
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional

import pytest
from conftest import Run

import kvwal

THREADS = 4


def test_records(db: kvwal.Store) -> None:
    tail = db.tail(timeout=0)
    assert list(tail) == []
    before = int(time.time() * 1000)
    db[b"a"] = b"one"
    db.set(b"b", b"", ttl=3600)
    with db.batch() as batch:
        del batch[b"a"]
        batch[b"c"] = bytes(range(256))

    put, expiring, deleted, last = tail
    assert put == kvwal.Record(1, 0, kvwal.Op.PUT, b"a", b"one", None, False)
    assert (expiring.lsn, expiring.durable_lsn, expiring.value) == (2, 1, b"")
    assert expiring.expires_at is not None and 3500000 < expiring.expires_at - before < 3700000
    assert deleted == kvwal.Record(3, 2, kvwal.Op.DELETE, b"a", b"", None, True)
    assert last == kvwal.Record(4, 2, kvwal.Op.PUT, b"c", bytes(range(256)), None, False)
    assert deleted.op is kvwal.Op.DELETE and deleted.in_batch is True
    # The same again, for whoever comes back, and more for the first one.
    assert [record.lsn for record in db.tail(3, timeout=0)] == [3, 4]
    db[b"d"] = b""
    assert [record.lsn for record in tail] == [5]


def test_timeouts(db: kvwal.Store) -> None:
    with db.tail() as tail:
        for timeout in (0, 0.15, timedelta(milliseconds=150), 0.0001):
            began = time.monotonic()
            assert tail.next(timeout) is None
            seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
            assert seconds <= time.monotonic() - began < seconds + 5
        for refused in (-1, float("nan"), timedelta(seconds=-1)):
            with pytest.raises(ValueError, match="timeout"):
                tail.next(refused)
            with pytest.raises(ValueError, match="timeout"):
                db.tail(timeout=refused)
        with pytest.raises(TypeError):
            tail.next("1")  # type: ignore[arg-type]


def test_waits_for_what_comes(db: kvwal.Store) -> None:
    writer = threading.Timer(0.25, lambda: db.set(b"late", b"1"))
    writer.start()
    record = next(db.tail())
    assert (record.key, record.value) == (b"late", b"1")
    writer.join()


def test_only_what_is_durable(path: Path) -> None:
    with kvwal.Store(path, sync=kvwal.SyncMode.NONE) as db:
        tail = db.tail()
        db[b"a"] = b"1"
        assert tail.next(0) is None
        db.sync()
        assert next(tail).key == b"a"


def test_from_nowhere(db: kvwal.Store) -> None:
    with pytest.raises(kvwal.InvalidError, match="kv_tail_open.*another store"):
        db.tail(2)
    with pytest.raises(TypeError):
        db.tail("1")  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        db.tail(-1)


def test_lagged(db: kvwal.Store) -> None:
    tail = db.tail()
    db[b"a"] = b"1"
    db[b"b"] = b"2"
    db.checkpoint()
    db[b"c"] = b"3"
    for call in (tail.next, tail.__next__):
        with pytest.raises(kvwal.LaggedError, match="checkpoint of LSN 2") as caught:
            call()
    assert caught.value.checkpoint_lsn == 2 and isinstance(caught.value, kvwal.KvError)
    again = db.tail(caught.value.checkpoint_lsn + 1, timeout=0)
    assert [record.key for record in again] == [b"c"]


def test_closed(db: kvwal.Store) -> None:
    with db.tail() as tail:
        assert iter(tail) is tail
    tail.close()
    for call in (tail.next, tail.__next__):
        with pytest.raises(kvwal.ClosedError, match="the feed is closed"):
            call()


def waiting(tails: list[kvwal.Tail], end: Callable[[], None], words: str) -> None:
    """Lets a thread wait for each feed, and sees how they come back."""
    ready = threading.Barrier(len(tails) + 1)
    came: list[bool] = []

    def wait(tail: kvwal.Tail) -> None:
        ready.wait()
        with pytest.raises(kvwal.ClosedError, match=words):
            next(tail)
        came.append(True)

    threads = [threading.Thread(target=wait, args=(tail,)) for tail in tails]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(0.05)
    end()
    for thread in threads:
        thread.join(timeout=30)
    assert len(came) == len(tails)


@pytest.mark.parametrize("timeout", [None, timedelta(hours=1)])
def test_closing_a_feed_ends_the_waiting(db: kvwal.Store, timeout: Optional[timedelta]) -> None:
    for _ in range(5):
        tail = db.tail(timeout=timeout)
        waiting([tail] * THREADS, tail.close, "the feed is closed")


def test_closing_the_store_ends_the_waiting(path: Path) -> None:
    for _ in range(10):
        db = kvwal.Store(path)
        tails = [db.tail() for _ in range(THREADS)]
        waiting(tails, db.close, "the store is closed")
        for tail in tails:
            with pytest.raises(kvwal.ClosedError, match="the store is closed"):
                next(tail)
            tail.close()


def test_threads_take_turns(db: kvwal.Store) -> None:
    tail, seen = db.tail(timeout=5), list[int]()

    def read() -> None:
        while len(seen) < 400:
            record = tail.next(0.1)
            if record is not None:
                seen.append(record.lsn)

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for number in range(100):
        with db.batch() as batch:
            for part in range(4):
                batch[b"%d/%d" % (number, part)] = b""
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(seen) == list(range(1, 401))


def test_forgotten(path: Path) -> None:
    """A feed keeps its store; what it holds is freed with it."""
    tail = kvwal.Store(path).tail()
    gc.collect()
    assert tail.next(0) is None
    with pytest.warns(ResourceWarning, match="unclosed <kvwal.Store"):
        del tail
        gc.collect()
    kvwal.Store(path).close()


def test_interrupted(path: Path, run: Run) -> None:
    """Ctrl-C ends the waiting."""
    program = """
import signal, sys, kvwal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
with kvwal.Store(sys.argv[1]) as db:
    print("waiting", flush=True)
    try:
        next(db.tail())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    db[b"key"] = b"value"
"""
    process = run(program, path)
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("interrupted\n", "")


def test_left_open_at_exit(path: Path, run: Run) -> None:
    program = """
import sys, threading, warnings, kvwal
warnings.simplefilter("ignore")
db = kvwal.Store(sys.argv[1])
threading.Thread(target=db.tail().next, daemon=True).start()
db[b"key"] = b"value"
"""
    process = run(program, path)
    process.communicate(timeout=60)
    assert process.returncode == 0
    with kvwal.Store(path) as db:
        assert db[b"key"] == b"value"
