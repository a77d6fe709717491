"""Every error that a program can meet, with its words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from conftest import Run

import kvwal


def test_missing_store(path: Path) -> None:
    with pytest.raises(kvwal.IoError, match=f"kv_open.*{path}.*No such file"):
        kvwal.Store(path, create=False)
    assert not path.exists()
    with pytest.raises(kvwal.IoError, match="No such file"):
        kvwal.Store(path / "parent is missing")


def test_impossible_paths(path: Path) -> None:
    with pytest.raises(ValueError, match="NUL"):
        kvwal.Store(f"{path}\0.old")
    with pytest.raises(TypeError):
        kvwal.Store(None)  # type: ignore[arg-type]
    path.write_text("a file")
    with pytest.raises(kvwal.IoError, match="directory"):
        kvwal.Store(path)
    strange = os.fsencode(path.parent) + b"/\xff"
    with kvwal.Store(strange) as db:
        db[b"a"] = b"1"
    assert os.path.exists(strange)


def test_impossible_options(path: Path) -> None:
    with pytest.raises(kvwal.InvalidError, match="sync"):
        kvwal.Store(path, sync=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sync_interval"):
        kvwal.Store(path, sync_interval=-1)
    with pytest.raises(OverflowError):
        kvwal.Store(path, preallocate=-1)
    assert not path.exists()


def test_locked_by_this_process(db: kvwal.Store, path: Path) -> None:
    with pytest.raises(kvwal.LockedError, match=str(os.getpid())) as caught:
        kvwal.Store(path)
    assert caught.value.code == -6 and isinstance(caught.value, kvwal.KvError)


def test_locked_by_another_process(path: Path, run: Run) -> None:
    owner = run("import sys, kvwal\nwith kvwal.Store(sys.argv[1]):\n    print('open', flush=True)\n    input()", path)
    assert owner.stdout is not None and owner.stdout.readline() == "open\n"
    with pytest.raises(kvwal.LockedError, match=str(owner.pid)):
        kvwal.Store(path)
    owner.communicate("\n", timeout=30)
    kvwal.Store(path).close()


# From Python 3.12 on os.fork() warns of what is tried here: the preallocating thread, and that of the scan.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked(db: kvwal.Store) -> None:
    with db.batch() as batch:
        for number in range(1000):
            batch[b"%d" % number] = b"1"
    batch, scan, tail = db.batch(), db.keys(), db.tail()
    child = os.fork()
    if child == 0:
        calls: list[Callable[[], object]] = [
            lambda: db[b"1"],
            lambda: db.set(b"1", b"2"),
            lambda: batch.__enter__().__exit__(None, None, None),
            lambda: list(scan),
            db.keys,
            db.stats,
            db.tail,
            lambda: db.transact(lambda transaction: None),
            lambda: next(tail),
            tail.close,
            db.close,
        ]
        os._exit(sum(not is_refused(call) for call in calls))
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(scan)) == 1000 and db[b"1"] == b"1" and next(tail).lsn == 1


def is_refused(call: Callable[[], object]) -> bool:
    """Whether a call in a forked child names the store's owner."""
    try:
        call()
    except kvwal.ForkedError as error:
        return f"process {os.getppid()}" in str(error)
    return False


def test_no_permission(path: Path, run: Run) -> None:
    kvwal.Store(path).close()
    path.chmod(0)
    path.with_name("closed").mkdir(mode=0o500)
    program = """
import os, sys, kvwal
if os.geteuid() == 0:    # Root may do everything, so it is nobody who tries.
    os.seteuid(65534)
store = sys.argv[1]
inside = os.path.join(os.path.dirname(store), "closed", "store")
for call in (kvwal.Store, lambda path: kvwal.Store(path, create=False), kvwal.verify):
    for path in (store, inside):
        try:
            call(path)
        except kvwal.IoError as error:
            print("Permission denied" in str(error), path in str(error))
"""
    out, error = run(program, path).communicate(timeout=30)
    path.chmod(0o700)
    # Not even whether a store is there can be seen by somebody else than its owner.
    assert error == "" and out.splitlines()[:2] == ["True True"] * 2 and len(out.splitlines()) == 6


def test_too_large(db: kvwal.Store) -> None:
    key = bytes(65536)
    for call in (db.get, db.delete, lambda key: db.set(key, b""), lambda key: key in db):
        with pytest.raises(kvwal.TooLargeError, match="65536"):
            call(key)
    with db.batch() as batch, pytest.raises(kvwal.TooLargeError):
        batch[key] = b""
    assert isinstance(kvwal.TooLargeError(), ValueError)


def test_damaged(path: Path) -> None:
    with kvwal.Store(path) as db:
        for key in (b"1", b"2", b"3"):
            db[key] = b"value"
    log = path / "wal.log"
    damaged = bytearray(log.read_bytes())
    damaged[50] ^= 1
    log.write_bytes(damaged)

    with pytest.raises(kvwal.CorruptError, match="wal.log"):
        kvwal.Store(path, recovery=kvwal.RecoveryMode.STRICT)
    assert log.read_bytes() == damaged
    with kvwal.Store(path) as db:
        found = db.recovery()
        assert found.verdict is kvwal.Verdict.DAMAGED
        assert (found.last_lsn, found.records_behind) == (1, 1)
        assert list(db) == [b"1"]
    assert any((path / "quarantine").iterdir())


def test_torn(path: Path) -> None:
    with kvwal.Store(path, preallocate=kvwal.NEVER) as db:
        db[b"1"] = db[b"2"] = b"value"
    log = path / "wal.log"
    log.write_bytes(log.read_bytes()[:-1])
    with kvwal.Store(path) as db:
        assert db.recovery().verdict is kvwal.Verdict.TORN and list(db) == [b"1"]


def test_full_disk_heals(path: Path, run: Run) -> None:
    program = """
import resource, sys, kvwal
with kvwal.Store(sys.argv[1]) as db:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        db[b"large"] = bytes(131072)
    except kvwal.NoSpaceError as error:
        print("wal.log" in str(error), b"large" in db)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    db[b"large"] = bytes(131072)
"""
    out, error = run(program, path).communicate(timeout=30)
    assert (out, error) == ("True False\n", "")
    with kvwal.Store(path) as db:
        assert db[b"large"] == bytes(131072)
