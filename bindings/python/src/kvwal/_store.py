"""The store as a mapping from bytes to bytes."""

from __future__ import annotations

import os
import warnings
import weakref
from dataclasses import fields
from types import TracebackType
from typing import Any, Callable, Iterable, List, Optional, Tuple, Type, TypeVar, Union

from ._batch import Batch
from ._errors import KvError
from ._native import BytesLike, Duration, Handle, PathLike, check, ffi, given, given_path, lib, milliseconds, sized
from ._scan import Item, Scan, take_item, take_key, take_value
from ._tail import Tail
from ._transaction import Result, Transaction, transact
from ._types import Recovery, RecoveryMode, Stats, SyncMode, Verdict

Default = TypeVar("Default")

# How many keys get_many() looks up at a time, and how long their values may be without being asked for again.
MANY_KEYS = 512
MANY_BYTES = 256

NEVER = 2**64 - 1
"""For sizes: not at all."""


class Store:
    """An open store, for any number of threads. Close it, or use it in a with statement.

    Opens the directory path, creating it (but not its parents) if it is missing, unless create is False. Left alone,
    every write waits for the disk; the other modes and sizes kvwal.h explains. With an archive_dir, a directory that is
    made if it is missing, the logs that checkpoints retire are kept there, for restore().
    """

    def __init__(
        self,
        path: PathLike,
        *,
        create: bool = True,
        sync: SyncMode = SyncMode.ALWAYS,
        sync_interval: Optional[Duration] = None,
        recovery: RecoveryMode = RecoveryMode.PREFIX,
        checkpoint_wal_bytes: Optional[int] = None,
        preallocate: Optional[int] = None,
        archive_dir: Optional[PathLike] = None,
    ) -> None:
        name = given_path(path)
        options = ffi.new("kv_options *")
        lib.kv_options_init(options)
        options.sync = sync
        options.recovery = recovery
        options.sync_interval_ms = 0 if sync_interval is None else milliseconds(sync_interval, "sync_interval")
        options.checkpoint_wal_bytes = checkpoint_wal_bytes or 0
        options.preallocate = preallocate or 0
        options.no_create = not create
        # What a struct points to nobody else keeps.
        archive = ffi.NULL if archive_dir is None else ffi.new("char[]", given_path(archive_dir))
        options.archive_dir = archive
        out = ffi.new("kv_store **")
        check(lib.kv_open(name, options, out))
        self._path = os.fsdecode(name)
        self._handle = Handle(out[0])
        # Also when the interpreter ends: the relaxed modes have something to sync, and scans a thread to stop.
        self._finalizer = weakref.finalize(self, _close_forgotten, self._handle, repr(self))

    # One key

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: BytesLike, default: Optional[Default] = None) -> Union[bytes, Optional[Default]]:
        """The value of key, or default if it is not there. Never waits for the disk."""
        key = given(key, "key")
        out, length = ffi.new("void **"), ffi.new("size_t *")
        with self._handle as store:
            result = check(lib.kv_get(store, key, len(key), out, length))
        if result == lib.KV_NOT_FOUND:
            return default
        try:
            return bytes(ffi.buffer(out[0], length[0]))
        finally:
            lib.kv_free(out[0])

    def __contains__(self, key: BytesLike) -> bool:
        key = given(key, "key")
        lookup = ffi.new("kv_lookup *")
        # No room for a value: whether the key is there is all that is asked. What a struct points to nobody else keeps.
        kept = ffi.from_buffer(key) if isinstance(key, bytes) else key
        lookup.key, lookup.key_len = kept, len(key)
        with self._handle as store:
            check(lib.kv_get_many(store, lookup, 1))
        return bool(lookup.result != lib.KV_NOT_FOUND)

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self.set(key, value)

    def set(self, key: BytesLike, value: BytesLike, *, ttl: Optional[Duration] = None) -> None:
        """Sets key to value; with a ttl (a timedelta, or seconds) the key is gone when that is over.

        On the disk when it returns, unless the store was opened in a relaxed mode.
        """
        key, value = given(key, "key"), given(value, "value")
        if ttl is None:
            with self._handle as store:
                check(lib.kv_set(store, key, len(key), value, len(value)))
        else:
            ttl_ms = milliseconds(ttl, "ttl")
            with self._handle as store:
                check(lib.kv_set_ttl(store, key, len(key), value, len(value), ttl_ms))

    def __delitem__(self, key: BytesLike) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def delete(self, key: BytesLike) -> bool:
        """Deletes key. False if it was not there."""
        key = given(key, "key")
        with self._handle as store:
            return bool(check(lib.kv_del(store, key, len(key))) == lib.KV_OK)

    def batch(self) -> Batch:
        """For a with statement: changes that are made all at once when its block ends, or not at all if it raises."""
        return Batch(self._handle)

    # Several keys

    def get_many(self, keys: Iterable[BytesLike]) -> List[Optional[bytes]]:
        """The values of many keys, in the order of the keys; None for those that are not there.

        Faster than one call a key. The values are not all as of one moment; those of items() are.
        """
        wanted = [given(key, "key") for key in keys]
        values: List[Optional[bytes]] = []
        for first in range(0, max(len(wanted), 1), MANY_KEYS):
            values += self._get_some(wanted[first : first + MANY_KEYS])
        return values

    def _get_some(self, keys: List[Any]) -> List[Optional[bytes]]:
        # What a struct points to nobody else keeps.
        kept = [ffi.from_buffer(key) if isinstance(key, bytes) else key for key in keys]
        room = ffi.new("char[]", len(keys) * MANY_BYTES)
        lookups = ffi.new("kv_lookup[]", len(keys))
        for number, key in enumerate(kept):
            lookup = lookups[number]
            lookup.key, lookup.key_len = key, len(key)
            lookup.buf, lookup.buf_len = room + number * MANY_BYTES, MANY_BYTES
        with self._handle as store:
            check(lib.kv_get_many(store, lookups, len(keys)))
        return [self._found(key, lookup) for key, lookup in zip(keys, lookups)]

    def _found(self, key: Any, lookup: Any) -> Optional[bytes]:
        if lookup.result == lib.KV_BUFFER:
            return self.get(key)
        return bytes(ffi.buffer(lookup.buf, lookup.value_len)) if lookup.result == lib.KV_OK else None

    def set_if_absent(self, key: BytesLike, value: BytesLike) -> bool:
        """Sets key to value if it is not there. False if it is; then it stays as it is."""
        key, value = given(key, "key"), given(value, "value")
        with self._handle as store:
            return bool(check(lib.kv_set_if_absent(store, key, len(key), value, len(value))) == lib.KV_OK)

    def compare_and_set(self, key: BytesLike, expected: BytesLike, value: BytesLike) -> bool:
        """Sets key to value, and drops an expiry, if its value is expected.

        False, and nothing changes, if its value is another one or the key is not there.
        """
        key, value, expected = given(key, "key"), given(value, "value"), given(expected, "expected")
        arguments = (key, len(key), expected, len(expected), value, len(value))
        with self._handle as store:
            return bool(check(lib.kv_compare_and_set(store, *arguments)) == lib.KV_OK)

    def transact(self, function: Callable[[Transaction], Result]) -> Result:
        """Calls function(transaction), once, and returns what it returns, when its changes are on the disk.

        It reads and changes keys, all of it at one moment: nobody else writes in between. Its changes are made all at once;
        if it raises, none is made, and the exception is raised here.

        It runs on this thread, or on another one that is inside a call on this store, while this one waits. Until it
        returns every writer waits: it should be quick, wait for nobody, and write to this store by its transaction alone.
        """
        return transact(self._handle, function)

    # All keys

    def __len__(self) -> int:
        """Keys in the store. One that has expired is counted until it is dropped."""
        return self.stats().keys

    def __bool__(self) -> bool:
        """A store is true, also an empty one."""
        return True

    def __iter__(self) -> Scan[bytes]:
        return self.keys()

    def keys(self, prefix: BytesLike = b"") -> Scan[bytes]:
        """The keys that begin with prefix, in byte order, as of this moment."""
        return self._scan(prefix, take_key)

    def values(self, prefix: BytesLike = b"") -> Scan[bytes]:
        """The values of the keys that begin with prefix, in the order of the keys, as of this moment."""
        return self._scan(prefix, take_value)

    def items(self, prefix: BytesLike = b"") -> Scan[Tuple[bytes, bytes]]:
        """Keys that begin with prefix, and their values, in byte order, as of this moment."""
        return self._scan(prefix, take_item)

    def _scan(self, prefix: BytesLike, take: Any) -> Scan[Item]:
        given(prefix, "prefix")
        return Scan(self, self._handle, bytes(prefix), take)

    # The whole store

    def sync(self) -> None:
        """Makes every earlier write durable; there is nothing to do in SyncMode.ALWAYS."""
        with self._handle as store:
            check(lib.kv_sync(store))

    def checkpoint(self) -> None:
        """Writes a snapshot and retires the log that it covers, so that the next open is quick."""
        with self._handle as store:
            check(lib.kv_checkpoint(store))

    def backup(self, path: PathLike) -> None:
        """Makes a store of its own in the directory path, which must be empty or not there, while others read and write.

        It holds what this one holds at one moment, and is verified and durable when this returns.
        """
        name = given_path(path)
        with self._handle as store:
            check(lib.kv_backup(store, name))

    def tail(self, from_lsn: int = 1, *, timeout: Optional[Duration] = None) -> Tail:
        """The durable records of this store from the LSN from_lsn on, as an iterator that waits for more.

        Iterating ends if none comes within timeout (a timedelta, or seconds); None waits as long as it takes. Raises
        LaggedError if the next record is in no log any more.
        """
        return Tail(self, self._handle, from_lsn, timeout)

    def stats(self) -> Stats:
        """Counters and sizes."""
        out = sized("kv_stats")
        with self._handle as store:
            check(lib.kv_stats_get(store, out))
        return Stats(**{field.name: getattr(out, field.name) for field in fields(Stats)})

    def recovery(self) -> Recovery:
        """What opening found."""
        out = sized("kv_recovery")
        with self._handle as store:
            check(lib.kv_recovery_report(store, out))
        found = {field.name: getattr(out, field.name) for field in fields(Recovery)}
        return Recovery(**{**found, "verdict": Verdict(out.verdict)})

    def close(self) -> None:
        """Waits for calls of other threads, ends iterators, and closes. Nothing happens if the store is closed.

        Raises what closing came upon, such as FailedError after a failed sync; the store is closed all the same.
        """
        self._finalizer.detach()
        self._handle.close()

    @property
    def closed(self) -> bool:
        """Whether the store is closed."""
        return self._handle.closed

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, _kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<kvwal.Store {self._path!r}{' closed' if self.closed else ''}>"


def _close_forgotten(handle: Handle, name: str) -> None:
    """For a store that nobody closed. What belongs to a parent process is not ours to close."""
    try:
        handle.check_process()
    except KvError:
        return
    warnings.warn(f"unclosed {name}", ResourceWarning, stacklevel=2)
    handle.close()
