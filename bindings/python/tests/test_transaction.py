"""Transactions: what they see, what becomes of their changes and exceptions, on whatever thread they run."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Callable, Iterator

import pytest
from conftest import Run

import kvwal
from kvwal import _transaction
from kvwal._native import ffi, lib

THREADS = 8


def test_sees_its_own_changes(db: kvwal.Store) -> None:
    db[b"there"] = b"before"
    db[b"gone"] = b"1"
    commits = db.stats().commits

    def change(transaction: kvwal.Transaction) -> str:
        assert transaction[b"there"] == b"before" and transaction.get(b"none") is None
        assert transaction.get(b"none", b"default") == b"default" and b"none" not in transaction
        transaction[b"there"] = bytearray(b"after")
        transaction.set(b"empty", b"")
        transaction.set(b"hour", b"1", ttl=timedelta(hours=1))
        transaction.set(b"second", b"1", ttl=3600.5)
        del transaction[b"gone"]
        assert not transaction.delete(b"gone") and b"gone" not in transaction
        assert transaction[b"there"] == b"after" and transaction[b"empty"] == b"" and b"empty" in transaction
        # Others see nothing of it, and neither does the store.
        assert db[b"there"] == b"before" and list(db) == [b"gone", b"there"]
        return "done"

    assert db.transact(change) == "done"
    assert dict(db.items()) == {b"there": b"after", b"empty": b"", b"hour": b"1", b"second": b"1"}
    assert db.stats().commits == commits + 1


class Mine(Exception):
    pass


@pytest.mark.parametrize("kind", [Mine, KeyboardInterrupt, SystemExit])
def test_raising_changes_nothing(db: kvwal.Store, kind: type) -> None:
    db[b"there"] = b"before"

    def change(transaction: kvwal.Transaction) -> None:
        transaction[b"there"] = b"after"
        transaction[b"new"] = b"1"
        raise kind("enough")

    with pytest.raises(kind, match="enough") as caught:
        db.transact(change)
    assert caught.traceback[-1].name == "change"
    assert dict(db.items()) == {b"there": b"before"} and db.stats().commits == 1
    db[b"there"] = b"later"


def test_wrong_arguments(db: kvwal.Store) -> None:
    def change(transaction: kvwal.Transaction) -> None:
        for call in (
            lambda: transaction["key"],  # type: ignore[index]
            lambda: transaction.set(b"key", "value"),  # type: ignore[arg-type]
            lambda: transaction.delete(1),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(KeyError, match="b'none'"):
            transaction[b"none"]
        with pytest.raises(KeyError, match="b'none'"):
            del transaction[b"none"]
        for ttl in (0, -1, timedelta()):
            with pytest.raises(ValueError):
                transaction.set(b"key", b"value", ttl=ttl)
        with pytest.raises(kvwal.TooLargeError, match="kv_txn_set.*65536"):
            transaction[bytes(65536)] = b""
        with pytest.raises(kvwal.TooLargeError, match="kv_txn_get"):
            transaction.get(bytes(65536))
        transaction[b"done"] = b"yes"

    db.transact(change)
    assert dict(db.items()) == {b"done": b"yes"}
    with pytest.raises(TypeError, match="not callable"):
        db.transact(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="argument"):
        db.transact(lambda: None)  # type: ignore[misc, arg-type]


def test_the_store_inside(db: kvwal.Store) -> None:
    def change(transaction: kvwal.Transaction) -> None:
        for call in (
            lambda: db.set(b"key", b"value"),
            lambda: db.delete(b"there"),
            lambda: db.set_if_absent(b"key", b"value"),
            lambda: db.transact(change),
            db.sync,
            db.checkpoint,
        ):
            with pytest.raises(kvwal.InvalidError, match="transaction"):
                call()
        with pytest.raises(kvwal.InvalidError, match="cannot close"):
            db.close()
        assert not db.closed and db.get(b"there") == b"1"

    db[b"there"] = b"1"
    db.transact(change)
    db[b"there"] = b"2"


def test_is_for_its_function_alone(db: kvwal.Store) -> None:
    kept: list[kvwal.Transaction] = []
    seen: list[object] = []

    def elsewhere(transaction: kvwal.Transaction) -> None:
        with pytest.raises(kvwal.InvalidError, match="the thread"):
            transaction[b"key"] = b"value"
        seen.append(True)

    def change(transaction: kvwal.Transaction) -> None:
        kept.append(transaction)
        thread = threading.Thread(target=elsewhere, args=(transaction,))
        thread.start()
        thread.join()

    db.transact(change)
    assert seen == [True] and len(db) == 0
    with pytest.raises(kvwal.ClosedError, match="the transaction is over"):
        kept[0].get(b"key")


def in_one_group(db: kvwal.Store, part: Callable[[int], None]) -> None:
    """Runs a part of a test in threads that come to the store while a transaction holds it up.

    So they have to share a group, in which one of them runs the functions of the others.
    """
    held_up, coming = threading.Event(), threading.Barrier(THREADS + 1)
    failures: list[BaseException] = []

    def hold_up(_transaction: kvwal.Transaction) -> None:
        held_up.set()
        coming.wait(timeout=30)
        time.sleep(0.05)

    def come(number: int) -> None:
        try:
            held_up.wait(timeout=30)
            coming.wait(timeout=30)
            part(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    db.transact(hold_up)
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_threads_count(db: kvwal.Store) -> None:
    elsewhere: list[bool] = []

    def work(_number: int) -> None:
        caller = threading.get_ident()

        def count_up(transaction: kvwal.Transaction) -> int:
            elsewhere.append(threading.get_ident() != caller)
            count = int(transaction.get(b"count") or b"0") + 1
            transaction[b"count"] = b"%d" % count
            return count

        counts = [db.transact(count_up) for _ in range(50)]
        assert counts == sorted(set(counts))

    in_one_group(db, work)
    assert db[b"count"] == b"%d" % (THREADS * 50) and len(elsewhere) == THREADS * 50
    assert any(elsewhere)
    assert db.stats().commits < THREADS * 50


def test_exceptions_reach_their_caller(db: kvwal.Store) -> None:
    elsewhere: list[bool] = []

    def work(number: int) -> None:
        caller = threading.get_ident()
        for round in range(20):

            def change(transaction: kvwal.Transaction) -> None:
                elsewhere.append(threading.get_ident() != caller)
                transaction[b"changed"] = b"1"
                raise Mine(number, round)

            with pytest.raises(Mine) as caught:
                db.transact(change)
            assert caught.value.args == (number, round)
            db[b"%d" % number] = b"%d" % round

    in_one_group(db, work)
    assert any(elsewhere)
    assert dict(db.items()) == {b"%d" % number: b"19" for number in range(THREADS)}


def test_closing_waits_for_a_transaction(path: Path) -> None:
    db = kvwal.Store(path)
    closing = threading.Thread(target=db.close)

    def change(transaction: kvwal.Transaction) -> None:
        closing.start()
        while not db.closed:
            time.sleep(0.001)
        transaction[b"key"] = b"value"

    db.transact(change)
    closing.join(timeout=30)
    with kvwal.Store(path) as db:
        assert db[b"key"] == b"value"


@pytest.fixture
def quick(path: Path) -> Iterator[kvwal.Store]:
    with kvwal.Store(path, sync=kvwal.SyncMode.NONE) as store:
        yield store


def test_in_relaxed_modes(quick: kvwal.Store) -> None:
    for _ in range(3):
        quick.transact(lambda transaction: transaction.set(b"key", (transaction.get(b"key") or b"") + b"x"))
    assert quick[b"key"] == b"xxx"


def test_interrupted(path: Path, run: Run) -> None:
    """Ctrl-C in the middle: nothing is changed, and the store goes on."""
    program = """
import os, signal, sys, kvwal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
def change(transaction):
    transaction[b"key"] = b"value"
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10**6):
        pass
with kvwal.Store(sys.argv[1]) as db:
    try:
        db.transact(change)
    except KeyboardInterrupt:
        print("interrupted", list(db))
    db[b"other"] = b""
"""
    assert run(program, path).communicate(timeout=60) == ("interrupted []\n", "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupted_before_the_function_is_called(db: kvwal.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What C must not take for a success."""

    def interrupted(work: object, pointer: object) -> int:
        assert ffi.typeof(pointer) is ffi.typeof("kv_txn *")
        lib.kv_txn_set(pointer, b"key", 3, b"value", 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(_transaction._Work, "run", interrupted)
    with pytest.raises(kvwal.KvError, match="interrupted"):
        db.transact(lambda transaction: None)
    assert len(db) == 0
