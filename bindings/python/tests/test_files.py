"""Looking at a store from outside, and copying one."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvwal


def test_verify(path: Path) -> None:
    with kvwal.Store(path) as db:
        db[b"1"] = db[b"2"] = b"value"
        db.checkpoint()
        db[b"3"] = b"value"
        found = kvwal.verify(path)
        assert found.verdict is kvwal.Verdict.CLEAN and found.refused is None and found.is_open is True
        assert (found.keys, found.value_bytes, found.checkpoint_keys, found.last_lsn) == (3, 15, 2, 3)
        assert found.bad_file is None and found.reason is None
    closed = kvwal.verify(path)
    assert closed.is_open is False
    assert closed.log_size == (path / "wal.log").stat().st_size and closed.next_size is None
    assert closed.checkpoint_size == (path / "checkpoint.dat").stat().st_size


def test_verify_damage(path: Path) -> None:
    with kvwal.Store(path) as db:
        for key in (b"1", b"2", b"3"):
            db[key] = b"value"
    log = path / "wal.log"
    damaged = bytearray(log.read_bytes())
    damaged[50] ^= 1
    log.write_bytes(damaged)
    found = kvwal.verify(path)
    assert found.verdict is kvwal.Verdict.DAMAGED and found.refused is None
    assert (found.last_lsn, found.bad_file, found.bad_lsn, found.records_behind) == (1, "wal.log", 2, 1)
    assert found.reason and log.read_bytes() == damaged


def test_verify_a_store_that_would_not_open(path: Path) -> None:
    with kvwal.Store(path) as db:
        db[b"1"] = b"value"
        db.checkpoint()
        db[b"2"] = b"value"
    (path / "checkpoint.dat").unlink()
    found = kvwal.verify(path)
    assert found.refused is kvwal.CorruptError and found.verdict is kvwal.Verdict.DAMAGED and found.reason
    with pytest.raises(found.refused):
        kvwal.Store(path)


def test_verify_errors(path: Path) -> None:
    with pytest.raises(kvwal.IoError, match=f"kv_verify.*{path}"):
        kvwal.verify(path)
    with pytest.raises(ValueError, match="NUL"):
        kvwal.verify(f"{path}\0.old")
    with pytest.raises(TypeError):
        kvwal.verify(None)  # type: ignore[arg-type]


def test_backup(db: kvwal.Store, path: Path) -> None:
    db[b"name"] = b"Ada"
    db.set(b"hour", b"1", ttl=3600)
    copy = path.with_name("backup")
    db.backup(copy)
    db[b"name"] = b"Grace"
    with kvwal.Store(copy, create=False) as backup:
        assert dict(backup.items()) == {b"name": b"Ada", b"hour": b"1"}
        backup[b"more"] = b""
        assert backup.stats().last_lsn == 3


def test_backup_errors(db: kvwal.Store, path: Path) -> None:
    with pytest.raises(kvwal.InvalidError, match=f"kv_backup.*{path}"):
        db.backup(path)
    with pytest.raises(kvwal.IoError, match="No such file"):
        db.backup(path.with_name("no") / "such")
    with pytest.raises(ValueError, match="NUL"):
        db.backup("a\0b")
    with pytest.raises(TypeError):
        db.backup(None)  # type: ignore[arg-type]
    assert [entry.name for entry in path.parent.iterdir()] == ["store"]
