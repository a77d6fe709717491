#!/usr/bin/env python3
"""Reads a kvwal store that is closed or has crashed, without the library.

    kvwal_reader.py STORE_DIRECTORY

Prints a line `hexkey hexvalue expires` a key, in the order of the keys' bytes; `expires` is in Unix milliseconds, 0 for
a key that stays. A summary goes to stderr. The exit status is 1 if the store cannot be read.

It shares no code with the library: what it knows of the files is what docs/format.md says, which shows that the
document is enough. It only reads; nothing is repaired. As a module: `read_store(directory).entries`.
"""

import os
import struct
import sys
import time
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_KEY_LEN = 65_535
MAX_VALUE_LEN = 1 << 30
MIN_RECORD_LEN = 33
MAX_RECORD_LEN = MIN_RECORD_LEN + 8 + MAX_KEY_LEN + MAX_VALUE_LEN

# A record of the log: crc32, length, lsn, durable_lsn, op; then the expiry of a PUT_EXPIRING, the key, the value.
RECORD_HEAD = struct.Struct(">IIQQB")
LENGTH_FIELD = struct.Struct(">I")
EXPIRY_FIELD = struct.Struct(">Q")
PUT, DELETE, PUT_EXPIRING = 1, 2, 3
BATCH_CONTINUES = 0x80

# The checkpoint: magic, version, flags, lsn, wal_offset, keys, file size, creation time, blocks; then the header's CRC.
CHECKPOINT_HEAD = struct.Struct(">8sIIQQQQQI")
CHECKPOINT_HEAD_SIZE = CHECKPOINT_HEAD.size + 4
CHECKPOINT_MAGIC = b"KVWALCKP"
CHECKPOINT_VERSION = 1
# A block: crc32, length, index, kind; then its payload.
BLOCK_HEAD = struct.Struct(">IIII")
WHOLE_ENTRIES, FIRST_PART, FURTHER_PART = 1, 2, 3
# An entry: flags, key_len, value_len; then the expiry if bit 0 of the flags is set, the key, the value.
ENTRY_HEAD = struct.Struct(">BHI")
ENTRY_EXPIRES = 0x01


class StoreError(Exception):
    """The store cannot be read: nothing that is returned could be trusted."""


class BadRecord(Exception):
    """No valid record begins here: the log ends, whatever the reason."""


class Entry(NamedTuple):
    """What a key holds."""

    value: bytes
    expires_at: int  # Unix milliseconds, 0 for never


class Record(NamedTuple):
    """One record of the log."""

    lsn: int
    op: int
    in_batch: bool  # the next record belongs to the same batch
    key: bytes
    entry: Entry
    end: int  # offset behind it


@dataclass
class Log:
    """What a log file says, without a batch that is incomplete."""

    name: str
    records: list[Record]
    last_valid_lsn: int  # also of an incomplete batch
    problem: str | None  # why it was not read on; None at its end

    def end(self):
        return self.records[-1].end if self.records else 0


@dataclass
class Contents:
    """A store's contents, and how they were found."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    checkpoint_lsn: int = 0
    last_lsn: int = 0
    records_replayed: int = 0
    keys_expired: int = 0
    stopped_at: str = ""


class Cursor:
    """Takes fields off a byte string, never beyond its end."""

    def __init__(self, data):
        self.data = data
        self.offset = 0

    def fields(self, layout):
        return layout.unpack(self.bytes(layout.size))

    def bytes(self, count):
        taken = self.data[self.offset : self.offset + count]
        if len(taken) < count:
            raise ValueError("a length reaches beyond the end")
        self.offset += count
        return bytes(taken)

    def at_end(self):
        return self.offset == len(self.data)


# ---- The log


def decode_record(log, offset):
    """The record at `offset`; BadRecord if there is none."""
    if len(log) - offset < MIN_RECORD_LEN:
        raise BadRecord("less than a record is left")
    crc, length, lsn, _durable_lsn, op = RECORD_HEAD.unpack_from(log, offset)
    if not MIN_RECORD_LEN <= length <= min(MAX_RECORD_LEN, len(log) - offset):
        raise BadRecord(f"no record is {length} bytes long here")
    if zlib.crc32(log[offset + 4 : offset + length]) != crc:
        raise BadRecord("the checksum is wrong")
    body = Cursor(log[offset + RECORD_HEAD.size : offset + length])
    try:
        key, entry = decode_body(body, op & ~BATCH_CONTINUES)
    except ValueError as error:
        raise BadRecord(str(error)) from error
    return Record(lsn, op & ~BATCH_CONTINUES, bool(op & BATCH_CONTINUES), key, entry, offset + length)


def decode_body(body, op):
    """What follows `op`: the expiry, if there is one, the key and the value."""
    if op not in (PUT, DELETE, PUT_EXPIRING):
        raise StoreError(f"op {op} is of a newer version")
    expires_at = body.fields(EXPIRY_FIELD)[0] if op == PUT_EXPIRING else 0
    key = body.bytes(body.fields(LENGTH_FIELD)[0])
    value = body.bytes(body.fields(LENGTH_FIELD)[0])
    if len(key) > MAX_KEY_LEN or len(value) > MAX_VALUE_LEN or (op == DELETE and value) or not body.at_end():
        raise ValueError("the fields contradict each other")
    return key, Entry(value, expires_at)


def read_log(name, data):
    """The valid records from the beginning of a log, as a `Log`."""
    records, problem = read_records(data)
    log = Log(name, records, records[-1].lsn if records else 0, problem)
    if not data[log.end() :].strip(b"\0"):
        log.problem = None  # the end, or space allocated ahead
    while log.records and log.records[-1].in_batch:
        log.records.pop()
        log.problem = "the batch is incomplete"
    return log


def read_records(data):
    """The valid records from the beginning of a log, and why no other one follows."""
    records, view, offset = [], memoryview(data), 0
    try:
        while True:
            record = decode_record(view, offset)
            expected = records[-1].lsn + 1 if records else max(record.lsn, 1)
            if record.lsn != expected:
                raise BadRecord(f"LSN {record.lsn} stands where {expected} should")
            records.append(record)
            offset = record.end
    except BadRecord as error:
        return records, str(error)


def check_beginning(log, checkpoint_lsn):
    if log.records and log.records[0].lsn > checkpoint_lsn + 1:
        raise StoreError(f"{log.name} begins at LSN {log.records[0].lsn}, behind a gap")


def logs_to_apply(log, following, checkpoint_lsn):
    """wal.log, and wal.next if nothing is missing between the two."""
    check_beginning(log, checkpoint_lsn)
    if following is None or not following.records:
        return [log]
    if not log.records:
        check_beginning(following, checkpoint_lsn)
    begins = following.records[0].lsn
    if begins <= log.last_valid_lsn:
        raise StoreError(f"wal.next begins at LSN {begins}, but wal.log already ends at {log.last_valid_lsn}")
    goes_on = log.problem is None and begins == log.last_valid_lsn + 1
    covered = begins <= checkpoint_lsn + 1  # what wal.log may lack is in the checkpoint
    return [log, following] if goes_on or covered else [log]


def check_reach(logs, checkpoint_lsn):
    last_lsns = [log.records[-1].lsn for log in logs if log.records]
    if last_lsns and max(last_lsns) < checkpoint_lsn:
        raise StoreError(f"the log ends at LSN {max(last_lsns)}, before the checkpoint's {checkpoint_lsn}")


def replay(contents, log):
    """Applies what a log holds beyond `contents.last_lsn`."""
    for record in log.records:
        if record.lsn > contents.last_lsn:
            apply(contents.entries, record)
            contents.records_replayed += 1
            contents.last_lsn = record.lsn
    contents.stopped_at = f"{log.name} at offset {log.end()}: {log.problem or 'its end'}"


def apply(entries, record):
    if record.op == DELETE:
        entries.pop(record.key, None)
    else:
        entries[record.key] = record.entry


# ---- The checkpoint


def decode_checkpoint(data):
    """The LSN and the entries of a checkpoint, every checksum of which is right."""
    if len(data) < CHECKPOINT_HEAD_SIZE or not data.startswith(CHECKPOINT_MAGIC):
        raise StoreError("checkpoint.dat is no checkpoint")
    _magic, version, _flags, lsn, _offset, keys, size, _created, blocks = CHECKPOINT_HEAD.unpack_from(data)
    (crc,) = LENGTH_FIELD.unpack_from(data, CHECKPOINT_HEAD.size)
    if zlib.crc32(data[: CHECKPOINT_HEAD.size]) != crc:
        raise StoreError("the checksum of the checkpoint's header is wrong")
    if version != CHECKPOINT_VERSION:
        raise StoreError(f"the checkpoint has version {version}")
    if size != len(data):
        raise StoreError(f"the checkpoint has {len(data)} bytes instead of {size}")
    entries = decode_entries(read_blocks(memoryview(data)[CHECKPOINT_HEAD_SIZE:], blocks))
    if len(entries) != keys:
        raise StoreError(f"the checkpoint has {len(entries)} keys instead of {keys}")
    return lsn, entries


def read_blocks(data, count):
    """Kind and payload of each block."""
    offset = 0
    for index in range(count):
        if len(data) - offset < BLOCK_HEAD.size:
            raise StoreError(f"block {index} of the checkpoint is missing")
        crc, length, written_index, kind = BLOCK_HEAD.unpack_from(data, offset)
        block = data[offset : offset + length]
        if length < BLOCK_HEAD.size or len(block) < length or zlib.crc32(block[4:]) != crc or written_index != index:
            raise StoreError(f"block {index} of the checkpoint is damaged")
        yield kind, block[BLOCK_HEAD.size :]
        offset += length
    if offset != len(data):
        raise StoreError("bytes follow the checkpoint's last block")


def join_parts(blocks):
    """Payloads that hold whole entries: the parts of a large entry become one."""
    large = None
    for kind, payload in blocks:
        if kind == FURTHER_PART and large is not None:
            large += payload
            continue
        if large is not None:
            yield bytes(large)
            large = None
        if kind == WHOLE_ENTRIES:
            yield payload
        elif kind == FIRST_PART:
            large = bytearray(payload)
        else:
            raise StoreError(f"a block of kind {kind} stands where none may")
    if large is not None:
        yield bytes(large)


def decode_entries(blocks):
    entries = {}
    for payload in join_parts(blocks):
        cursor = Cursor(payload)
        try:
            while not cursor.at_end():
                key, entry = decode_entry(cursor)
                if key in entries:
                    raise StoreError("a key is in the checkpoint twice")
                entries[key] = entry
        except ValueError as error:
            raise StoreError(f"an entry of the checkpoint is damaged: {error}") from error
    return entries


def decode_entry(cursor):
    flags, key_len, value_len = cursor.fields(ENTRY_HEAD)
    expires_at = cursor.fields(EXPIRY_FIELD)[0] if flags & ENTRY_EXPIRES else 0
    key = cursor.bytes(key_len)
    return key, Entry(cursor.bytes(value_len), expires_at)


# ---- The store


def read_file(directory, name):
    """The bytes of a file, None if there is no such file. Any other failure is an error, and not an empty file."""
    try:
        with open(os.path.join(directory, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def drop_expired(contents, now_ms):
    expired = [key for key, entry in contents.entries.items() if 0 < entry.expires_at <= now_ms]
    for key in expired:
        del contents.entries[key]
    contents.keys_expired = len(expired)


def read_store(directory, now_ms=None):
    """The store's `Contents`. StoreError if the files are damaged in a way that no crash could have caused; of some of
    these the library recovers a part."""
    checkpoint, first, second = (read_file(directory, name) for name in ("checkpoint.dat", "wal.log", "wal.next"))
    contents = Contents()
    if first is None and checkpoint is None and second == b"":
        return contents  # a store that nothing was ever written to
    first_name = "wal.log"
    if first is None and second is not None:
        first_name, first, second = "wal.next", second, None
        if not read_records(first)[0]:
            raise StoreError("there is no wal.log, and wal.next does not begin with a record")
    if first is None:
        raise StoreError("there is no wal.log")
    if checkpoint is not None:
        contents.checkpoint_lsn, contents.entries = decode_checkpoint(checkpoint)
        contents.last_lsn = contents.checkpoint_lsn
    following = None if second is None else read_log("wal.next", second)
    logs = logs_to_apply(read_log(first_name, first), following, contents.checkpoint_lsn)
    check_reach(logs, contents.checkpoint_lsn)
    for log in logs:
        replay(contents, log)
    drop_expired(contents, int(time.time() * 1000) if now_ms is None else now_ms)
    return contents


def print_entries(entries, out):
    for key in sorted(entries):
        entry = entries[key]
        print(key.hex(), entry.value.hex(), entry.expires_at, file=out)


def summary(contents):
    return (
        f"checkpoint: LSN {contents.checkpoint_lsn}; log: {contents.records_replayed} records replayed, "
        f"last LSN {contents.last_lsn}; stopped in {contents.stopped_at}; "
        f"{len(contents.entries)} keys, {contents.keys_expired} more had expired"
    )


def main(arguments):
    if len(arguments) != 1:
        print("usage: kvwal_reader.py STORE_DIRECTORY", file=sys.stderr)
        return 2
    try:
        contents = read_store(arguments[0])
    except (StoreError, OSError) as error:
        print(f"kvwal_reader: {error}", file=sys.stderr)
        return 1
    print_entries(contents.entries, sys.stdout)
    print(summary(contents), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
