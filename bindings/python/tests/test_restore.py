"""Archives, and stores as they were."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import kvwal


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Where an archive may be."""
    return tmp_path / "archive"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where to restore to."""
    return tmp_path / "restored"


def contents(path: Path) -> "dict[bytes, bytes]":
    with kvwal.Store(path, create=False) as db:
        return dict(db.items())


def test_every_record(path: Path, archive: Path, tmp_path: Path) -> None:
    states = [{}]
    with kvwal.Store(path, archive_dir=archive) as db:
        for number in range(6):
            db[b"%d" % (number % 4)] = b"%d" % number
            states.append(dict(db.items()))
            if number % 2:
                db.checkpoint()
        assert (db.stats().checkpoints, db.stats().checkpoints_failed) == (3, 0)
        db[b"last"] = b""
        states.append(dict(db.items()))
    for lsn in range(1, 8):
        dest = tmp_path / f"as-of-{lsn}"
        restored = kvwal.restore(dest, archive_dir=archive, store_dir=path, until_lsn=lsn)
        assert (restored.last_lsn, restored.noted_ms) == (lsn, None)
        assert restored.records == lsn - restored.checkpoint_lsn
        assert contents(dest) == states[lsn]
    restored = kvwal.restore(tmp_path / "all", archive_dir=archive, store_dir=path)
    assert restored == kvwal.Restored(last_lsn=7, checkpoint_lsn=6, records=1, noted_ms=None)


def test_a_batch_is_not_divided(path: Path, archive: Path, dest: Path) -> None:
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"a"] = b"1"
        with db.batch() as batch:
            batch[b"a"] = batch[b"b"] = b"2"
    assert kvwal.restore(dest, store_dir=path, until_lsn=2).last_lsn == 1
    assert contents(dest) == {b"a": b"1"}


def test_backup_and_archive(path: Path, archive: Path, dest: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"a"] = b"1"
        db.backup(backup)
        db[b"b"] = b"2"
        db.checkpoint()
        restored = kvwal.restore(dest, backup_dir=backup, archive_dir=archive)
    assert restored == kvwal.Restored(last_lsn=2, checkpoint_lsn=1, records=1, noted_ms=None)
    assert contents(dest) == {b"a": b"1", b"b": b"2"}


def test_times(path: Path, archive: Path, tmp_path: Path) -> None:
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"name"] = b"Ada"
    # What closing has noted is not later than this.
    between = datetime.now(timezone.utc)
    time.sleep(0.005)
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"name"] = b"Grace"
    now = datetime.now(timezone.utc)
    ms = int(between.timestamp() * 1000)
    local = between.astimezone().replace(tzinfo=None)
    elsewhere = between.astimezone(timezone(timedelta(hours=-7)))
    for number, when in enumerate((between, local, elsewhere, ms)):
        dest = tmp_path / f"then-{number}"
        restored = kvwal.restore(dest, archive_dir=archive, store_dir=path, until_time=when)
        assert restored.last_lsn == 1 and contents(dest) == {b"name": b"Ada"}
        assert restored.noted_ms is not None and ms - 60_000 < restored.noted_ms <= ms
    assert kvwal.restore(tmp_path / "now", archive_dir=archive, store_dir=path, until_time=now).last_lsn == 2
    with pytest.raises(kvwal.InvalidError, match="notes nothing from so early"):
        kvwal.restore(tmp_path / "early", archive_dir=archive, until_time=datetime(1970, 1, 2))


def test_limits(path: Path, archive: Path, dest: Path) -> None:
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"a"] = b"1"
    for lsn in (0, -1):
        with pytest.raises(ValueError, match="until_lsn must be more than 0"):
            kvwal.restore(dest, store_dir=path, until_lsn=lsn)
    for when in (0, -1, datetime(1969, 12, 31, tzinfo=timezone.utc)):
        with pytest.raises(ValueError, match="until_time must be more than 0"):
            kvwal.restore(dest, archive_dir=archive, until_time=when)
    with pytest.raises(kvwal.InvalidError, match="both given"):
        kvwal.restore(dest, archive_dir=archive, until_lsn=1, until_time=1)
    with pytest.raises(kvwal.InvalidError, match="the records end with LSN 1, before 2"):
        kvwal.restore(dest, store_dir=path, until_lsn=2)
    assert not dest.exists()


def test_errors(path: Path, archive: Path, dest: Path, tmp_path: Path) -> None:
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"a"] = b"1"
        db.checkpoint()
        db[b"a"] = b"2"
        db.checkpoint()
        with pytest.raises(kvwal.LockedError, match=str(archive)):
            kvwal.Store(tmp_path / "second", archive_dir=archive)
    with pytest.raises(kvwal.InvalidError, match="nothing is given"):
        kvwal.restore(dest)
    with pytest.raises(kvwal.InvalidError, match=str(path)):
        kvwal.restore(path, archive_dir=archive)
    with pytest.raises(kvwal.IoError, match="missing"):
        kvwal.restore(dest, archive_dir=tmp_path / "missing")
    (archive / f"wal-{1:020}-{1:020}.log").unlink()
    with pytest.raises(kvwal.CorruptError, match="the records 1 to 1 are missing"):
        kvwal.restore(dest, archive_dir=archive)
    with pytest.raises(kvwal.InvalidError, match="older copy, or another store"):
        kvwal.Store(tmp_path / "second", archive_dir=archive)
    for what in ("backup_dir", "archive_dir", "store_dir"):
        with pytest.raises(ValueError, match="NUL"):
            kvwal.restore(dest, **{what: "a\0b"})  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            kvwal.restore(dest, **{what: 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        kvwal.Store(tmp_path / "second", archive_dir="a\0b")
    assert not dest.exists()


def test_a_checkpoint_that_fails_is_counted(path: Path, archive: Path) -> None:
    with kvwal.Store(path, archive_dir=archive) as db:
        db[b"a"] = b"1"
        archive.rename(archive.with_name("aside"))
        with pytest.raises(kvwal.IoError, match=str(archive)):
            db.checkpoint()
        assert db.stats().checkpoints_failed == 1 and db[b"a"] == b"1"
        archive.with_name("aside").rename(archive)
        db.checkpoint()
        assert (db.stats().checkpoints, db.stats().checkpoints_failed) == (1, 1)
