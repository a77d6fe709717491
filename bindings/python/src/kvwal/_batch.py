"""Changes that are made all at once or not at all."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Optional, Type

from ._errors import ClosedError, NoMemoryError
from ._native import BytesLike, Handle, check, ffi, given, lib


class Batch:
    """What Store.batch() gives: collects changes, and writes them when its with block ends, with one sync.

    If the block raises, nothing is written. Threads may share a batch.
    """

    def __init__(self, handle: Handle) -> None:
        pointer = lib.kv_batch_new()
        if pointer == ffi.NULL:
            raise NoMemoryError("no memory for a batch")
        self._handle = handle
        self._pointer = ffi.gc(pointer, lib.kv_batch_free)
        self._closed = False
        # kvwal.h: one thread at a time.
        self._lock = threading.Lock()

    def set(self, key: BytesLike, value: BytesLike) -> None:
        """Adds "set key to value"."""
        key, value = given(key, "key"), given(value, "value")
        with self._lock:
            check(lib.kv_batch_set(self._open(), key, len(key), value, len(value)))

    def delete(self, key: BytesLike) -> None:
        """Adds "delete key"; a key that is not there when the batch is written is no error."""
        key = given(key, "key")
        with self._lock:
            check(lib.kv_batch_del(self._open(), key, len(key)))

    def clear(self) -> None:
        """Takes back what was added."""
        with self._lock:
            check(lib.kv_batch_clear(self._open()))

    __setitem__ = set
    __delitem__ = delete

    def __enter__(self) -> Batch:
        with self._lock:
            self._open()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], _error: Optional[BaseException], _traceback: Optional[TracebackType]
    ) -> None:
        with self._lock:
            pointer = self._open()
            self._closed = True
            try:
                if kind is None:
                    with self._handle as store:
                        check(lib.kv_write(store, pointer))
            finally:
                ffi.release(pointer)

    def _open(self) -> Any:
        if self._closed:
            raise ClosedError("the batch is closed")
        return self._pointer
