"""What is left of a process that is killed, and what threads do to each other."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import Run

import kvwal

WRITER = """
import sys, kvwal
db = kvwal.Store(sys.argv[1])
for number in range(10**9):
    with db.batch() as batch:
        batch[b"a/%d" % number] = b"x" * (number % 100)
        batch[b"b/%d" % number] = b""
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 50, 200])
def test_killed_half_way(path: Path, run: Run, acknowledged: int) -> None:
    writer = run(WRITER, path)
    assert writer.stdout is not None
    for number in range(acknowledged):
        assert writer.stdout.readline() == f"{number}\n"
    writer.kill()
    last = int((writer.communicate()[0].split() or [acknowledged - 1])[-1])

    with kvwal.Store(path) as db:
        batches = len(db) // 2
        assert batches > last
        for number in range(batches):
            assert db[b"a/%d" % number] == b"x" * (number % 100)
            assert db[b"b/%d" % number] == b""
        assert len(db) == 2 * batches


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_threads_share_syncs(db: kvwal.Store) -> None:
    def work(number: int) -> None:
        for count in range(50):
            db[b"%d/%d" % (number, count)] = b"value"
            assert db[b"%d/%d" % (number, count)] == b"value"

    in_threads(8, work)
    stats = db.stats()
    assert len(db) == stats.sets == 400
    # Only if a thread that waits for the disk has let go of the interpreter's lock.
    assert stats.commits < stats.sets


def test_threads_share_a_batch(db: kvwal.Store) -> None:
    with db.batch() as batch:
        in_threads(4, lambda number: [batch.set(b"%d/%d" % (number, count), b"") for count in range(500)] and None)
    assert len(db) == 2000


def test_closing_waits_for_a_call_under_way(path: Path) -> None:
    db = kvwal.Store(path)
    closing = threading.Thread(target=db.close)
    with db._handle:
        closing.start()
        while not db.closed:
            time.sleep(0.001)
        closing.join(timeout=0.05)
        assert closing.is_alive()
        with pytest.raises(kvwal.LockedError):
            kvwal.Store(path)
    closing.join()
    kvwal.Store(path).close()


def test_closing_among_calls_of_others(path: Path) -> None:
    db = kvwal.Store(path)
    started = threading.Barrier(5)
    written = [0] * 4

    def work(number: int) -> None:
        if number == 4:
            started.wait()
            db.close()
            return
        started.wait()
        with pytest.raises(kvwal.ClosedError):
            while True:
                db[b"%d/%d" % (number, written[number])] = b"value"
                written[number] += 1
                list(db.keys(prefix=b"%d/" % number))

    in_threads(5, work)
    with kvwal.Store(path) as db:
        assert len(db) == sum(written)
