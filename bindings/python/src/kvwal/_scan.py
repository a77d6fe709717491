"""Iterating over a store.

kv_scan() calls a function with each pair, while Python's iterators are asked for each. Between the two stands a thread:
it runs kv_scan(), and stops in the middle of it whenever it has gathered a piece, until somebody asks for the next one.
So a scan holds one piece at a time, however large the store is, and ends as soon as nobody wants more.

Thread and iterator know each other through two queues alone. The iterator asks for a piece (or says that it wants no
more), and the thread gives one. Each piece is asked for once and each question answered once, so neither can wait for
something that does not come. The thread has no reference to the iterator: one that is forgotten is deleted,
and says in its last moment that it wants no more.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Callable, Generic, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union

from ._errors import ClosedError
from ._native import Handle, check, ffi, lib

Item = TypeVar("Item")

# How much a piece holds: so many items, or so many bytes, whatever is reached first.
PIECE_ITEMS = 512
PIECE_BYTES = 1 << 20


class _Piece(NamedTuple):
    items: List[Any]
    # None: there is more. Otherwise why there is not.
    end: Union[None, StopIteration, BaseException]


class _Producer:
    """What the thread does."""

    def __init__(self, handle: Handle, prefix: bytes, take: Callable[[Any, int, Any, int], Any]) -> None:
        self.wanted: SimpleQueue[bool] = SimpleQueue()
        self.pieces: SimpleQueue[_Piece] = SimpleQueue()
        self._handle = handle
        self._prefix = prefix
        self._take = take
        self._items: List[Any] = []
        self._bytes = 0
        self._failure: Optional[BaseException] = None

    def run(self) -> None:
        end: BaseException = StopIteration()
        try:
            with self._handle as store, self._handle.stopping(self.stop):
                check(lib.kv_scan(store, self._prefix, len(self._prefix), _visit, ffi.new_handle(self)))
        except BaseException as error:
            end = error
        self.pieces.put(_Piece(self._items, self._failure or end))

    def stop(self) -> None:
        """Nobody wants more."""
        self.wanted.put(False)

    def visit(self, key: Any, key_len: int, value: Any, value_len: int) -> int:
        """Called by kv_scan(), through which no exception may pass. Non-zero ends the scan."""
        try:
            self._items.append(self._take(key, key_len, value, value_len))
            self._bytes += key_len + value_len
            if len(self._items) < PIECE_ITEMS and self._bytes < PIECE_BYTES:
                return 0
            self.pieces.put(_Piece(self._items, None))
            self._items, self._bytes = [], 0
            if self.wanted.get():
                return 0
            self._failure = ClosedError("the scan was closed")
        except BaseException as error:
            self._failure = error
        return 1


def _visit_in_producer(ctx: Any, key: Any, key_len: int, value: Any, value_len: int) -> int:
    producer: _Producer = ffi.from_handle(ctx)
    return producer.visit(key, key_len, value, value_len)


_visit: Any = ffi.callback("kv_scan_fn", _visit_in_producer)


class Scan(Generic[Item]):
    """What Store.items() and its like give: an iterator over keys in byte order, as of the moment of that call.

    It may be abandoned at any time; close() it, or use it in a with statement, to let go of what it holds at once.
    """

    def __init__(
        self, owner: object, handle: Handle, prefix: bytes, take: Callable[[Any, int, Any, int], Item]
    ) -> None:
        # Keeps the store from being closed because it is forgotten.
        self._owner = owner
        self._handle = handle
        self._producer = _Producer(handle, prefix, take)
        self._items: Iterator[Item] = iter(())
        self._end: Optional[BaseException] = None
        # One thread at a time asks for a piece.
        self._lock = threading.Lock()
        threading.Thread(target=self._producer.run, name="kvwal scan", daemon=True).start()
        # With the first piece comes the certainty that the moment has been taken.
        self._receive()
        if self._end is not None and not isinstance(self._end, StopIteration):
            raise self._end

    def __iter__(self) -> Scan[Item]:
        return self

    def __next__(self) -> Item:
        with self._lock:
            if self._handle.closed:
                raise ClosedError("the store is closed")
            for item in self._items:
                return item
            while self._end is None:
                self._handle.check_process()
                self._producer.wanted.put(True)
                self._receive()
                for item in self._items:
                    return item
            if isinstance(self._end, StopIteration):
                raise StopIteration
            raise self._end

    def close(self) -> None:
        """Ends the scan. Nothing happens if it has ended."""
        self._producer.stop()
        self._items = iter(())
        if self._end is None:
            self._end = ClosedError("the scan was closed")

    def __enter__(self) -> Scan[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        producer = getattr(self, "_producer", None)
        if producer is not None:
            producer.stop()

    def _receive(self) -> None:
        piece = self._producer.pieces.get()
        self._items = iter(piece.items)
        if piece.end is not None:
            self._end = piece.end


def take_key(key: Any, key_len: int, _value: Any, _value_len: int) -> bytes:
    """For a scan of the keys alone."""
    return bytes(ffi.buffer(key, key_len))


def take_value(_key: Any, _key_len: int, value: Any, value_len: int) -> bytes:
    """For a scan of the values alone."""
    return bytes(ffi.buffer(value, value_len))


def take_item(key: Any, key_len: int, value: Any, value_len: int) -> Tuple[bytes, bytes]:
    """For a scan of both."""
    return bytes(ffi.buffer(key, key_len)), bytes(ffi.buffer(value, value_len))
