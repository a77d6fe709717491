"""Changes that depend on what is there.

kv_transact() calls a function, on this thread or on another one that is inside a call on the same store. No exception may
pass through C, so it is kept below and raised again above, and the transaction is undone. The same happens if Python is
interrupted before the function is called at all: to C that looks like a result other than 0.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from ._errors import ClosedError, InvalidError, KvError
from ._native import BytesLike, Duration, Handle, check, ffi, given, lib, milliseconds

Default = TypeVar("Default")
Result = TypeVar("Result")


class Transaction:
    """The store as the function of Store.transact() sees it: with its own changes, while nobody else makes any.

    Good until that function returns, on the thread that it runs on. Nothing here waits for the disk.
    """

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._thread = threading.get_ident()

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: BytesLike, default: Optional[Default] = None) -> Union[bytes, Optional[Default]]:
        """The value of key, or default if it is not there."""
        key = given(key, "key")
        value, length = ffi.new("const void **"), ffi.new("size_t *")
        if check(lib.kv_txn_get(self._open(), key, len(key), value, length)) == lib.KV_NOT_FOUND:
            return default
        return bytes(ffi.buffer(value[0], length[0]))

    def __contains__(self, key: BytesLike) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self.set(key, value)

    def set(self, key: BytesLike, value: BytesLike, *, ttl: Optional[Duration] = None) -> None:
        """Sets key to value; with a ttl (a timedelta, or seconds) the key is gone when that is over."""
        key, value = given(key, "key"), given(value, "value")
        if ttl is None:
            check(lib.kv_txn_set(self._open(), key, len(key), value, len(value)))
        else:
            ttl_ms = milliseconds(ttl, "ttl")
            check(lib.kv_txn_set_ttl(self._open(), key, len(key), value, len(value), ttl_ms))

    def __delitem__(self, key: BytesLike) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def delete(self, key: BytesLike) -> bool:
        """Deletes key. False if it was not there."""
        key = given(key, "key")
        return bool(check(lib.kv_txn_del(self._open(), key, len(key))) == lib.KV_OK)

    def _open(self) -> Any:
        if self._pointer is None:
            raise ClosedError("the transaction is over")
        if threading.get_ident() != self._thread:
            raise InvalidError("a transaction is for the thread that its function runs on")
        return self._pointer

    def _end(self) -> None:
        self._pointer = None


class _Work(Generic[Result]):
    """A function on its way through C, and what came of it."""

    def __init__(self, handle: Handle, function: Callable[[Transaction], Result]) -> None:
        self._handle = handle
        self._function = function
        self.result: Optional[Result] = None
        self.failure: Optional[BaseException] = None

    def run(self, pointer: Any) -> int:
        """What C gets: 0 commits."""
        transaction = Transaction(pointer)
        try:
            with self._handle.in_transaction():
                self.result = self._function(transaction)
            return 0
        except BaseException as failure:
            self.failure = failure
            return 1
        finally:
            transaction._end()


def _run_work(ctx: Any, pointer: Any) -> int:
    work: _Work[Any] = ffi.from_handle(ctx)
    return work.run(pointer)


_run: Any = ffi.callback("kv_txn_fn", _run_work, error=1)


def transact(handle: Handle, function: Callable[[Transaction], Result]) -> Result:
    """What Store.transact() does."""
    work = _Work(handle, function)
    ctx = ffi.new_handle(work)
    try:
        with handle as store:
            code = lib.kv_transact(store, _run, ctx)
            if work.failure is not None:
                raise work.failure
            check(code)
        if code == lib.KV_CONFLICT:
            raise KvError("the transaction was interrupted before its function was called; nothing was changed")
        return work.result  # type: ignore[return-value]
    finally:
        # An exception knows the frames that it came through, and this one knows the exception.
        del work, ctx
