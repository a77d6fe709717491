"""A durable key-value store: when a write returns, it is on the disk.

    >>> import kvwal
    >>> with kvwal.Store("my-store") as db:    # doctest: +SKIP
    ...     db[b"name"] = b"Ada"
    ...     print(db[b"name"])
    b'Ada'

Keys and values are bytes. A store is a directory that one process at a time has open; in it, any number of threads may
use one Store. What each call does, and when it waits for the disk, kvwal.h says in full.
"""

from ._batch import Batch
from ._errors import (
    BufferTooSmallError,
    ClosedError,
    CorruptError,
    CrcMismatchError,
    FailedError,
    ForkedError,
    IncompleteError,
    InternalError,
    InvalidError,
    IoError,
    KvError,
    LaggedError,
    LockedError,
    NoMemoryError,
    NoSpaceError,
    TooLargeError,
    VersionError,
)
from ._native import library_version
from ._restore import restore
from ._scan import Scan
from ._store import NEVER, Store
from ._tail import Tail
from ._transaction import Transaction
from ._types import Op, Record, Recovery, RecoveryMode, Restored, Stats, SyncMode, Verdict, Verified
from ._verify import verify

__version__ = library_version()

__all__ = [
    "NEVER",
    "Batch",
    "BufferTooSmallError",
    "ClosedError",
    "CorruptError",
    "CrcMismatchError",
    "FailedError",
    "ForkedError",
    "IncompleteError",
    "InternalError",
    "InvalidError",
    "IoError",
    "KvError",
    "LaggedError",
    "LockedError",
    "NoMemoryError",
    "NoSpaceError",
    "Op",
    "Record",
    "Recovery",
    "RecoveryMode",
    "Restored",
    "Scan",
    "Stats",
    "Store",
    "SyncMode",
    "Tail",
    "TooLargeError",
    "Transaction",
    "Verdict",
    "Verified",
    "VersionError",
    "restore",
    "verify",
]
