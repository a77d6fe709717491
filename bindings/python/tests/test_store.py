"""The store as a mapping, and what it tells about itself."""

from __future__ import annotations

import gc
import time
from datetime import timedelta
from pathlib import Path

import pytest

import kvwal

EVERY_BYTE = bytes(range(256))


def test_mapping(path: Path) -> None:
    with kvwal.Store(path) as db:
        db[b"name"] = b"Ada"
        db[EVERY_BYTE] = EVERY_BYTE
        db[b""] = b""
        db[b"gone"] = b"soon"
        del db[b"gone"]
    with kvwal.Store(path, create=False) as db:
        assert dict(db.items()) == {b"": b"", EVERY_BYTE: EVERY_BYTE, b"name": b"Ada"}
        assert db[b"name"] == b"Ada" and db[EVERY_BYTE] == EVERY_BYTE and db[b""] == b""
        assert len(db) == 3


def test_missing_keys(db: kvwal.Store) -> None:
    assert db.get(b"a") is None and db.get(b"a", b"default") == b"default"
    assert b"a" not in db and not db.delete(b"a")
    with pytest.raises(KeyError, match="b'a'"):
        db[b"a"]
    with pytest.raises(KeyError, match="b'a'"):
        del db[b"a"]
    db[b"a"] = b"x" * 1000
    assert b"a" in db and db.delete(b"a")


def test_looking_for_a_key_is_no_error(db: kvwal.Store) -> None:
    db[b"a"] = b"1"
    assert b"a" in db and b"b" not in db
    assert db.stats().errors == 0


def test_an_empty_store_is_true(db: kvwal.Store) -> None:
    assert len(db) == 0 and db


def test_get_many(db: kvwal.Store) -> None:
    # Several pieces, keys that are not there, and values that are too long for the first try.
    expected = [None if number % 3 == 0 else b"v" * (number % 700) for number in range(1500)]
    keys = [b"key/%d" % number for number in range(1500)]
    with db.batch() as batch:
        for key, value in zip(keys, expected):
            if value is not None:
                batch[key] = value
    assert db.get_many(keys) == expected
    assert db.get_many(key for key in keys[:5]) == expected[:5]
    assert db.get_many([]) == [] and db.get_many([b"", b""]) == [None, None]
    db[b""] = b"of nothing"
    assert db.get_many([b"", memoryview(b"key/1"), bytearray(b"key/2")]) == [b"of nothing", b"v", b"vv"]
    assert db.stats().errors == 0
    with pytest.raises(kvwal.TooLargeError, match="kv_get_many.*65536"):
        db.get_many([b"key/1", bytes(65536)])
    for refused in (b"key", ["key"], [None], None):
        with pytest.raises(TypeError):
            db.get_many(refused)  # type: ignore[arg-type]


def test_set_if_absent(db: kvwal.Store) -> None:
    assert db.set_if_absent(b"key", b"1") and not db.set_if_absent(b"key", b"2")
    assert db[b"key"] == b"1" and db.stats().sets == 1
    with pytest.raises(TypeError, match="the value is a str"):
        db.set_if_absent(b"key", "2")  # type: ignore[arg-type]
    with pytest.raises(kvwal.TooLargeError, match="kv_set_if_absent"):
        db.set_if_absent(bytes(65536), b"")


def test_compare_and_set(db: kvwal.Store) -> None:
    assert not db.compare_and_set(b"key", b"", b"1") and b"key" not in db
    db.set(b"key", b"1", ttl=3600)
    assert not db.compare_and_set(b"key", b"12", b"3") and db[b"key"] == b"1"
    assert db.compare_and_set(b"key", b"1", EVERY_BYTE) and db.compare_and_set(b"key", EVERY_BYTE, b"")
    assert db[b"key"] == b""
    with pytest.raises(TypeError, match="the expected is a str"):
        db.compare_and_set(b"key", "", b"3")  # type: ignore[arg-type]
    with pytest.raises(kvwal.TooLargeError, match="kv_compare_and_set"):
        db.compare_and_set(bytes(65536), b"", b"")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_like(db: kvwal.Store, kind: type) -> None:
    db[kind(b"key")] = kind(b"value")
    assert db[kind(b"key")] == b"value" and kind(b"key") in db
    assert list(db.items(prefix=kind(b"k"))) == [(b"key", b"value")]
    with db.batch() as batch:
        batch[kind(b"2")] = kind(b"two")
        del batch[kind(b"key")]
    assert list(db) == [b"2"]
    db[b"large"] = kind(bytes(1 << 20))
    assert db[b"large"] == bytes(1 << 20)


def test_str_is_refused(db: kvwal.Store) -> None:
    with pytest.raises(TypeError, match="the key is a str.*key.encode()"):
        db["key"] = b"value"  # type: ignore[index]
    with pytest.raises(TypeError, match="the value is a str"):
        db[b"key"] = "value"  # type: ignore[assignment]
    for refused in ("key", 1, None):
        for call in (db.get, db.__getitem__, db.__contains__, db.delete, db.keys):
            with pytest.raises(TypeError):
                call(refused)  # type: ignore[operator]
    with db.batch() as batch, pytest.raises(TypeError, match="the key is a str"):
        batch["key"] = b"value"  # type: ignore[index]
    assert len(db) == 0


def test_ttl(db: kvwal.Store) -> None:
    db.set(b"hour", b"1", ttl=timedelta(hours=1))
    db.set(b"seconds", b"1", ttl=3600)
    db.set(b"blink", b"1", ttl=0.001)
    db.set(b"shorter", b"1", ttl=timedelta(microseconds=1))
    time.sleep(0.02)
    assert list(db) == [b"hour", b"seconds"]
    for refused in (0, -1, timedelta(), float("nan")):
        with pytest.raises(ValueError):
            db.set(b"never", b"1", ttl=refused)
    assert b"never" not in db


def test_batch(db: kvwal.Store) -> None:
    db[b"old"] = b"0"
    commits = db.stats().commits
    with db.batch() as batch:
        batch[b"taken back"] = b"1"
        batch.clear()
        batch[b"a"] = b"1"
        batch.set(b"b", b"2")
        del batch[b"old"]
        batch.delete(b"never there")
        assert list(db) == [b"old"]
    assert list(db.items()) == [(b"a", b"1"), (b"b", b"2")]
    assert db.stats().commits == commits + 1


def test_batch_is_dropped_when_its_block_raises(db: kvwal.Store) -> None:
    batch = db.batch()
    with pytest.raises(ZeroDivisionError):
        with batch:
            batch[b"a"] = b"1"
            1 / 0
    assert list(db) == []
    with pytest.raises(kvwal.ClosedError):
        batch[b"a"] = b"1"
    with pytest.raises(kvwal.ClosedError):
        batch.__enter__()


def test_closed(path: Path) -> None:
    db = kvwal.Store(path)
    batch = db.batch()
    batch[b"a"] = b"1"
    assert not db.closed and repr(db) == f"<kvwal.Store {str(path)!r}>"
    db.close()
    db.close()
    assert db.closed and repr(db).endswith(" closed>")
    for call in (
        db.sync,
        db.checkpoint,
        db.stats,
        db.recovery,
        db.keys,
        db.tail,
        lambda: db.get(b"a"),
        lambda: b"a" in db,
        lambda: db.get_many([]),
        lambda: db.get_many([b"a"]),
        lambda: db.set_if_absent(b"a", b"1"),
        lambda: db.compare_and_set(b"a", b"1", b"2"),
        lambda: db.transact(lambda transaction: None),
        lambda: db.backup(path.with_name("backup")),
    ):
        with pytest.raises(kvwal.ClosedError, match="the store is closed"):
            call()
    with pytest.raises(kvwal.ClosedError):
        db[b"a"] = b"1"
    with pytest.raises(kvwal.ClosedError), batch:
        pass
    with kvwal.Store(path) as again:
        assert len(again) == 0


def test_forgotten(path: Path) -> None:
    db = kvwal.Store(path)
    db[b"a"] = b"1"
    with pytest.warns(ResourceWarning, match="unclosed <kvwal.Store"):
        del db
        gc.collect()
    with kvwal.Store(path) as db:
        assert db[b"a"] == b"1"


def test_relaxed_modes(path: Path) -> None:
    relaxed = {"sync_interval": 3600, "checkpoint_wal_bytes": kvwal.NEVER, "preallocate": kvwal.NEVER}
    with kvwal.Store(path, sync=kvwal.SyncMode.INTERVAL, **relaxed) as db:
        db[b"a"] = b"1"
        assert (db.stats().last_lsn, db.stats().durable_lsn) == (1, 0)
        db.sync()
        assert db.stats().durable_lsn == 1
    with kvwal.Store(path, sync=kvwal.SyncMode.NONE) as db:
        db[b"b"] = b"2"
        assert (db.stats().last_lsn, db.stats().durable_lsn) == (2, 1)
    with kvwal.Store(path) as db:
        assert db.recovery().last_lsn == 2


def test_checkpoint_stats_and_recovery(path: Path) -> None:
    with kvwal.Store(path) as db:
        assert db.recovery().last_lsn == 0
        db[b"a"] = b"123"
        db.checkpoint()
        db[b"b"] = b"45"
        db.get(b"a")
        stats = db.stats()
        assert (stats.keys, stats.bytes, stats.sets, stats.gets, stats.checkpoints) == (2, 5, 2, 1, 1)
        assert (stats.checkpoint_lsn, stats.durable_lsn) == (1, 2)
    with kvwal.Store(path) as db:
        found = db.recovery()
        assert found.verdict is kvwal.Verdict.CLEAN
        assert (found.checkpoint_keys, found.records_replayed, found.last_lsn) == (1, 1, 2)
        assert found.seconds > 0
