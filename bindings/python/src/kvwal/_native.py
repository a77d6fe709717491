"""Finding the library, and what every call to it needs: bytes on the way in, exceptions on the way out.

The library is the one inside the wheel; where the package was installed without one, the one that KVWAL_LIBRARY names,
and otherwise the system's.

cffi lets go of the interpreter's lock during each call, so that threads wait for the disk together.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Set, Union

from ._errors import ClosedError, ForkedError, InvalidError, error_of
from ._ffi import ffi as _ffi

SONAME = "libkvwal.so.0"

BytesLike = Union[bytes, bytearray, memoryview]
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Duration = Union[timedelta, float]

ffi: Any = _ffi


def _load() -> Any:
    inside = Path(__file__).with_name("libkvwal.so")
    path = str(inside) if inside.exists() else os.environ.get("KVWAL_LIBRARY", SONAME)
    try:
        return ffi.dlopen(path)
    except OSError as error:
        raise ImportError(f"kvwal finds no library: {error}; KVWAL_LIBRARY can name one") from error


lib: Any = _load()


def library_version() -> str:
    """The version of the library that is loaded."""
    return text(lib.kv_version())


def text(c_string: Any) -> str:
    """A C string; paths in it may be in any encoding."""
    return os.fsdecode(ffi.string(c_string))


def check(result: int) -> int:
    """Passes a result on; an error is raised, with its words."""
    if result < 0:
        raise error_of(result, text(lib.kv_errmsg()))
    return result


def given(data: BytesLike, what: str) -> Any:
    """The bytes of an argument, without a copy."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        raise TypeError(f"the {what} is a str, and a store holds bytes: encode it, as in {what}.encode()")
    try:
        return ffi.from_buffer(data)
    except TypeError:
        raise TypeError(f"the {what} must be bytes-like, not {type(data).__name__}") from None


def given_path(path: PathLike) -> bytes:
    """A path as C takes it."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("the path has a NUL in it")
    return name


def milliseconds(time: Duration, what: str) -> int:
    """Rounded up, so that a short time is not none."""
    if not isinstance(time, timedelta):
        time = timedelta(seconds=time)
    if time <= timedelta():
        raise ValueError(f"{what} must be more than 0, not {time}")
    return -(-time // timedelta(milliseconds=1))


def sized(struct: str) -> Any:
    """A struct of zeros that says how long it is."""
    out = ffi.new(f"{struct} *")
    out.struct_size = ffi.sizeof(struct)
    return out


class Handle:
    """A kv_store, which threads enter for each call, and which is closed when none is inside.

    kv_close() must be the last call on a handle; whoever comes later gets an exception instead of the pointer.
    """

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._inside = 0
        self._stops: Set[Callable[[], None]] = set()
        self._closing = False
        self._transaction_thread: Optional[int] = None

    @property
    def closed(self) -> bool:
        """Whether no call is possible any more."""
        return self._closing

    def check_process(self) -> None:
        """Raises in a forked child: there the lock of this handle may be held by a thread that is not there."""
        if os.getpid() != self._owner:
            raise ForkedError(f"the store was opened by process {self._owner}, and belongs to it")

    def __enter__(self) -> Any:
        self.check_process()
        with self._changed:
            if self._closing:
                raise ClosedError("the store is closed")
            self._inside += 1
        return self._pointer

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._inside == 0:
                self._changed.notify_all()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """For a thread that is inside, and may stay for long: calls stop when somebody wants to close."""
        with self._changed:
            self._stops.add(stop)
            if self._closing:
                stop()
        try:
            yield
        finally:
            with self._changed:
                self._stops.discard(stop)

    @contextmanager
    def in_transaction(self) -> Iterator[None]:
        """For a transaction's function, which waits for itself if it closes the store. There is one at a time."""
        self._transaction_thread = threading.get_ident()
        try:
            yield
        finally:
            self._transaction_thread = None

    def close(self) -> None:
        """Waits until nobody is inside, then closes. Nothing happens if it is closed."""
        self.check_process()
        if self._transaction_thread == threading.get_ident():
            raise InvalidError("a transaction's function cannot close the store")
        with self._changed:
            self._closing = True
            for stop in self._stops:
                stop()
            self._changed.wait_for(lambda: self._inside == 0)
            pointer, self._pointer = self._pointer, ffi.NULL
        check(lib.kv_close(pointer))
