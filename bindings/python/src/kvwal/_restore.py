"""A store out of a backup and an archive."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Optional, Union

from ._native import PathLike, check, ffi, given_path, lib, sized
from ._types import Restored

FIRST_TIME = datetime(1970, 1, 1, tzinfo=timezone.utc)


def restore(
    path: PathLike,
    *,
    backup_dir: Optional[PathLike] = None,
    archive_dir: Optional[PathLike] = None,
    store_dir: Optional[PathLike] = None,
    until_lsn: Optional[int] = None,
    until_time: Union[datetime, int, None] = None,
) -> Restored:
    """Makes a store in the directory path, which must be empty or not there, as it was after some record or at some time.

    What it is made of must be given in part at least: a backup or another copy of the store to begin with, what the store
    was opened with as archive_dir, and the store itself, open or not, for what is in its logs still. They are only read.

    Left alone, it goes as far as the records do; with until_lsn up to that record, included; with until_time (a datetime,
    which is local time if it has no time zone, or Unix milliseconds) up to what was durable then, as far as the archive
    knows. A batch is restored as a whole, or not at all. It is verified and durable when this returns.
    """
    # What a struct points to nobody else keeps.
    kept = {
        name: ffi.new("char[]", given_path(directory))
        for name, directory in (("backup_dir", backup_dir), ("archive_dir", archive_dir), ("store_dir", store_dir))
        if directory is not None
    }
    options = sized("kv_restore_options")
    for name, directory in kept.items():
        setattr(options, name, directory)
    options.until_lsn = 0 if until_lsn is None else _limit(until_lsn, "until_lsn")
    options.until_ms = 0 if until_time is None else _limit(_unix_ms(until_time), "until_time")
    out = sized("kv_restored")
    check(lib.kv_restore(given_path(path), options, out))
    found: Dict[str, Any] = {field.name: getattr(out, field.name) for field in fields(Restored)}
    found["noted_ms"] = out.noted_ms or None
    return Restored(**found)


def _limit(value: int, what: str) -> int:
    """For C, 0 would be no limit."""
    if value <= 0:
        raise ValueError(f"{what} must be more than 0, not {value}")
    return value


def _unix_ms(time: Union[datetime, int]) -> int:
    """Rounded down, so that nothing later is restored."""
    if isinstance(time, datetime):
        return (time.astimezone(timezone.utc) - FIRST_TIME) // timedelta(milliseconds=1)
    return time
