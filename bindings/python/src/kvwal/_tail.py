"""The change feed of an open store.

C waits for a record for a short while at a time. So somebody who presses Ctrl-C, or closes the feed, does not wait for
longer than that.
"""

from __future__ import annotations

import math
import threading
import time
from datetime import timedelta
from typing import Any, Optional

from ._errors import ClosedError, InvalidError, LaggedError
from ._native import Duration, Handle, check, ffi, lib, text
from ._types import Op, Record

# Seconds.
STEP = 0.1


class Tail:
    """What Store.tail() gives: an iterator over the durable records of the store, in order, each once.

    Close it, or use it in a with statement. Threads that share it take turns; each of them may close it.
    """

    def __init__(self, owner: object, handle: Handle, from_lsn: int, timeout: Optional[Duration]) -> None:
        # Keeps the store from being closed because it is forgotten.
        self._owner = owner
        self._handle = handle
        self._timeout = _seconds(timeout)
        self._record = ffi.new("wal_record *")
        self._closed = False
        # kvwal.h: one thread at a time.
        self._lock = threading.Lock()
        out = ffi.new("kv_tail **")
        with handle as store:
            check(lib.kv_tail_open(store, from_lsn, out))
        self._pointer = ffi.gc(out[0], lib.kv_tail_close)

    def __iter__(self) -> Tail:
        return self

    def __next__(self) -> Record:
        """The next record. The iteration ends if none comes within the timeout of the feed, and may be taken up again."""
        record = self._next(self._timeout)
        if record is None:
            raise StopIteration
        return record

    def next(self, timeout: Optional[Duration] = None) -> Optional[Record]:
        """The next record; None if none comes within timeout (a timedelta, or seconds; None: as long as it takes).

        Raises LaggedError if it is in no log any more, and ClosedError as soon as the feed or the store is closed.
        """
        return self._next(_seconds(timeout))

    def close(self) -> None:
        """Ends the waiting of other threads, and closes. Nothing happens if the feed is closed."""
        self._handle.check_process()
        self._closed = True
        with self._lock:
            ffi.release(self._pointer)

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, timeout: Optional[float]) -> Optional[Record]:
        self._handle.check_process()
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while True:
                left = STEP if end is None else max(0.0, end - time.monotonic())
                record = self._next_within(min(left, STEP))
                if record is not None or left == 0:
                    return record

    def _next_within(self, seconds: float) -> Optional[Record]:
        if self._closed:
            raise ClosedError("the feed is closed")
        if self._handle.closed:
            raise ClosedError("the store is closed")
        try:
            result = check(lib.kv_tail_next(self._pointer, math.ceil(seconds * 1000), self._record))
        except InvalidError:
            if self._handle.closed:
                raise ClosedError("the store is closed") from None
            raise
        if result == lib.KV_LAGGED:
            raise LaggedError(text(lib.kv_strerror(result)), lib.kv_tail_checkpoint_lsn(self._pointer))
        return None if result == lib.KV_NOT_FOUND else _copy(self._record)


def _copy(record: Any) -> Record:
    """What C has lent us."""
    op = record.op & ~lib.WAL_OP_BATCH
    return Record(
        lsn=record.lsn,
        durable_lsn=record.durable_lsn,
        op=Op.DELETE if op == lib.WAL_OP_DELETE else Op.PUT,
        key=bytes(ffi.buffer(record.key, record.key_len)),
        value=bytes(ffi.buffer(record.value, record.value_len)),
        expires_at=record.expires_at if op == lib.WAL_OP_PUT_EXPIRING else None,
        in_batch=bool(record.op & lib.WAL_OP_BATCH),
    )


def _seconds(timeout: Optional[Duration]) -> Optional[float]:
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    # Not a number is refused, too.
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout must be 0 or more, not {timeout}")
    return timeout
