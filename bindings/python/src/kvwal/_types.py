"""Plain types: modes, records, and what a store tells about itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional, Type

from ._errors import KvError


class SyncMode(enum.IntEnum):
    """When a write returns."""

    ALWAYS = 0
    """When it is on stable storage."""
    INTERVAL = 1
    """When it is in memory; synced every sync_interval. The last moment may be lost."""
    NONE = 2
    """When the kernel has it; synced by sync(), checkpoint() and close() alone."""


class RecoveryMode(enum.IntEnum):
    """What opening does about acknowledged data that was damaged."""

    PREFIX = 0
    """Open with the longest exact prefix, and report what was cut."""
    STRICT = 1
    """Refuse with CorruptError, and change nothing."""


class Verdict(enum.IntEnum):
    """How the log ended."""

    CLEAN = 0
    """Where its last record ends."""
    TORN = 1
    """In writes that a crash had interrupted, and that nobody was told of."""
    DAMAGED = 2
    """In a bad record, with a valid one behind it: durable data was damaged."""


@dataclass(frozen=True)
class Stats:
    """Counters and sizes of an open store; kv_stats in kvwal.h explains each."""

    gets: int
    sets: int
    dels: int
    errors: int
    keys: int
    bytes: int
    last_lsn: int
    durable_lsn: int
    checkpoint_lsn: int
    wal_bytes: int
    checkpoints: int
    commits: int
    syncs: int
    checkpoints_failed: int


@dataclass(frozen=True)
class Recovery:
    """What opening found; kv_recovery in kvwal.h explains each."""

    verdict: Verdict
    checkpoint_lsn: int
    last_lsn: int
    records_replayed: int
    stop_offset: int
    bytes_quarantined: int
    records_behind: int
    seconds: float
    durable_lsn: int
    checkpoint_keys: int
    keys_expired: int
    bytes_rewritten: int


@dataclass(frozen=True)
class Verified:
    """What a store's files hold; kv_verified in kvwal.h explains each."""

    verdict: Verdict
    refused: Optional[Type[KvError]]
    """What opening would raise; None if it would succeed."""
    is_open: bool
    checkpoint_lsn: int
    checkpoint_keys: int
    first_lsn: int
    last_lsn: int
    durable_lsn: int
    records: int
    record_bytes: int
    keys: int
    value_bytes: int
    log_size: Optional[int]
    """None if there is no such file; so with the next two."""
    next_size: Optional[int]
    checkpoint_size: Optional[int]
    records_behind: int
    bytes_behind: int
    bad_offset: int
    bad_lsn: int
    open_seconds: float
    bad_file: Optional[str]
    """None if no file is bad."""
    reason: Optional[str]
    """None if nothing is wrong."""


@dataclass(frozen=True)
class Restored:
    """What was restored; kv_restored in kvwal.h explains each."""

    last_lsn: int
    checkpoint_lsn: int
    records: int
    noted_ms: Optional[int]
    """Unix time in milliseconds; None if nothing was asked for by time."""


class Op(enum.IntEnum):
    """What a record does to its key."""

    PUT = 1
    """Sets it, for good or until expires_at."""
    DELETE = 2
    """Deletes it."""


@dataclass(frozen=True)
class Record:
    """One record of the log."""

    lsn: int
    """Its number: 1, 2, 3, ... without a gap."""
    durable_lsn: int
    """The highest LSN that was durable when it was written."""
    op: Op
    key: bytes
    value: bytes
    """Empty if op is DELETE."""
    expires_at: Optional[int]
    """Unix time in milliseconds when the key is gone; None for never."""
    in_batch: bool
    """Whether the next record belongs to the same batch."""
