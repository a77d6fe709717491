"""The store as a mapping from bytes to bytes."""

from __future__ import annotations

import os
import warnings
import weakref
from dataclasses import fields
from datetime import timedelta
from types import TracebackType
from typing import Any, Optional, Tuple, Type, TypeVar, Union

from ._batch import Batch
from ._errors import KvError
from ._native import BytesLike, Handle, check, ffi, given, lib
from ._scan import Item, Scan, take_item, take_key, take_value
from ._types import Recovery, RecoveryMode, Stats, SyncMode, Verdict

Default = TypeVar("Default")
Duration = Union[timedelta, float]

NEVER = 2**64 - 1
"""For sizes: not at all."""


class Store:
    """An open store, for any number of threads. Close it, or use it in a with statement.

    Opens the directory path, creating it (but not its parents) if it is missing, unless create is False. Left alone,
    every write waits for the disk; the other modes and sizes kvwal.h explains.
    """

    def __init__(
        self,
        path: Union[str, bytes, os.PathLike[str], os.PathLike[bytes]],
        *,
        create: bool = True,
        sync: SyncMode = SyncMode.ALWAYS,
        sync_interval: Optional[Duration] = None,
        recovery: RecoveryMode = RecoveryMode.PREFIX,
        checkpoint_wal_bytes: Optional[int] = None,
        preallocate: Optional[int] = None,
    ) -> None:
        name = os.fsencode(path)
        if b"\0" in name:
            raise ValueError("the path has a NUL in it")
        options = ffi.new("kv_options *")
        lib.kv_options_init(options)
        options.sync = sync
        options.recovery = recovery
        options.sync_interval_ms = 0 if sync_interval is None else _milliseconds(sync_interval, "sync_interval")
        options.checkpoint_wal_bytes = checkpoint_wal_bytes or 0
        options.preallocate = preallocate or 0
        options.no_create = not create
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
            ttl_ms = _milliseconds(ttl, "ttl")
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

    def stats(self) -> Stats:
        """Counters and sizes."""
        out = _sized("kv_stats")
        with self._handle as store:
            check(lib.kv_stats_get(store, out))
        return Stats(**{field.name: getattr(out, field.name) for field in fields(Stats)})

    def recovery(self) -> Recovery:
        """What opening found."""
        out = _sized("kv_recovery")
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


def _sized(struct: str) -> Any:
    out = ffi.new(f"{struct} *")
    out.struct_size = ffi.sizeof(struct)
    return out


def _milliseconds(time: Duration, what: str) -> int:
    """Rounded up, so that a short time is not none."""
    if not isinstance(time, timedelta):
        time = timedelta(seconds=time)
    if time <= timedelta():
        raise ValueError(f"{what} must be more than 0, not {time}")
    return -(-time // timedelta(milliseconds=1))


def _close_forgotten(handle: Handle, name: str) -> None:
    """For a store that nobody closed. What belongs to a parent process is not ours to close."""
    try:
        handle.check_process()
    except KvError:
        return
    warnings.warn(f"unclosed {name}", ResourceWarning, stacklevel=2)
    handle.close()
