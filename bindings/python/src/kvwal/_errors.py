"""An exception for each error of kvwal.h. Its text has the words of kv_errmsg(): call, file, offset, errno."""

from __future__ import annotations

from typing import ClassVar


class KvError(Exception):
    """What every error of a store has in common."""

    code: ClassVar[int] = 0
    """The number from kvwal.h; 0 where the library was not asked."""


class InvalidError(KvError, ValueError):
    """An argument is wrong; nothing happened."""

    code = -1


class TooLargeError(KvError, ValueError):
    """The key is longer than 65,535 bytes, or the value longer than 1 GiB; nothing happened."""

    code = -2


class NoMemoryError(KvError, MemoryError):
    """Out of memory; nothing happened."""

    code = -3


class IoError(KvError):
    """The operating system refused or failed a file operation."""

    code = -4


class NoSpaceError(KvError):
    """The disk, the quota or the file-size limit is full. The same write succeeds once there is room."""

    code = -5


class LockedError(KvError):
    """The store is open elsewhere; the text names the process."""

    code = -6


class CorruptError(KvError):
    """The files are damaged, incomplete, or not a store; nothing was changed."""

    code = -7


class CrcMismatchError(KvError):
    """A record's checksum does not match its bytes."""

    code = -8


class IncompleteError(KvError):
    """The bytes end before the record does."""

    code = -9


class FailedError(KvError):
    """A sync failed: this write and all later ones are refused, reads go on. Close the store and open it again."""

    code = -10


class VersionError(KvError):
    """Written by, or made for, a newer version of the library."""

    code = -11


class ForkedError(KvError):
    """The store was opened before a fork, and belongs to the parent process."""

    code = -12


class BufferTooSmallError(KvError):
    """A buffer is too small."""

    code = -13


class InternalError(KvError):
    """A bug in the library; the store refuses writes from now on."""

    code = -14


class ClosedError(KvError, ValueError):
    """The store, batch, transaction, feed or iterator is closed."""


class LaggedError(KvError):
    """The next record of a feed is in no log any more: a checkpoint covers it.

    Begin again with what the store holds now, or with a backup, and a feed from checkpoint_lsn + 1. Records that this
    reflects already may come again; they set or delete whole values, so in the end that makes no difference.
    """

    code = 3

    def __init__(self, words: str, checkpoint_lsn: int = 0) -> None:
        super().__init__(words, checkpoint_lsn)
        self.checkpoint_lsn = checkpoint_lsn
        """LSN of the checkpoint."""

    def __str__(self) -> str:
        return f"{self.args[0]}; begin again behind the checkpoint of LSN {self.checkpoint_lsn}"


# What a call returns instead of what was asked for; positive codes are answers.
BY_CODE = {error.code: error for error in KvError.__subclasses__() if error.code < 0}


def error_of(code: int, words: str) -> KvError:
    """The exception for a result code."""
    return BY_CODE.get(code, KvError)(words)
