//! Writes the golden files of this version: `make golden`. Once a release has them they are never written again.
//!
//! The stores are made on a simulated disk, for that one can be stopped between any two calls; so they
//! are the same each time, but for the order of a checkpoint's entries. Beside each store lies what there is to be found
//! in it, for a person to check before it is committed.

mod found;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kvwal::format::{Op, Record};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::wal::Log;
use kvwal::{Batch, Options, Size, Store};

const DIR: &str = "/store";
const LOG: &str = "/store/wal.log";
const LOG_ALONE: &str = "/alone.log";
/// Far behind every time at which the files may be opened, and still a date that calendars know.
const SEVEN_THOUSAND_YEARS_MS: u64 = 7_000 * 365 * 24 * 3_600_000;

fn main() {
    let to = std::env::args().nth(1).expect("write DIRECTORY");
    let to = Path::new(&to).join(env!("CARGO_PKG_VERSION"));
    for (name, write) in STORES {
        let disk = write();
        save(&disk, &to.join(name));
        let found = match disk.contents(LOG_ALONE) {
            Some(_) => found::in_log(&disk, Path::new(LOG_ALONE)),
            None => found::in_store(&open(&disk)),
        };
        fs::write(to.join(name).with_extension("txt"), found).expect("the directory was just made");
    }
}

fn save(disk: &SimDisk, to: &Path) {
    fs::create_dir_all(to).expect("the directory can be made");
    for (path, bytes) in disk.all_files() {
        let name = path.file_name().expect("a file has a name");
        if name != "LOCK" {
            fs::write(to.join(name), bytes).expect("the file can be written");
        }
    }
}

/// A disk with a store or a log that is worth keeping.
type Write = fn() -> SimDisk;

/// What may be found on a disk, and how it comes about.
const STORES: [(&str, Write); 9] = [
    ("closed", closed),
    ("killed", killed),
    ("expiring", expiring),
    ("checkpoint-and-log", checkpoint_and_log),
    ("checkpoint-unfinished", checkpoint_unfinished),
    ("log-not-retired", log_not_retired),
    ("torn", torn),
    ("damaged", damaged),
    ("log-alone", log_alone),
];

/// Nothing in the background, and few zeros ahead: the files are to be small.
fn open(disk: &SimDisk) -> Store {
    let options = Options { checkpoint_wal_bytes: Size::Never, preallocate: Size::Bytes(1000), ..Options::default() };
    Store::open_on(Arc::new(disk.clone()), DIR, &options).expect("the store opens")
}

fn set(store: &Store, key: &[u8], value: &[u8]) {
    store.set(key, value).expect("a disk without faults");
}

/// The first five records.
fn write_some(store: &Store) {
    set(store, b"replaced", b"old");
    set(store, b"deleted", b"old");
    set(store, b"replaced", b"new");
    assert!(store.del(b"deleted").expect("a disk without faults"));
    set(store, b"any bytes \0\xff\n", b"\0\xfe\r\n\0");
}

/// The records 6 to 10, of which three are a batch.
fn write_more(store: &Store) {
    set(store, b"", b"of the empty key");
    set(store, b"empty value", b"");
    let mut batch = Batch::new();
    batch.set(b"in a batch", b"first").expect("it is short");
    batch.del(b"empty value").expect("it is short");
    batch.set(b"in the same batch", b"last").expect("it is short");
    store.write(&batch).expect("a disk without faults");
}

fn closed() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    write_more(&store);
    store.close().expect("a disk without faults");
    disk
}

/// The process dies with zeros ahead of the last record.
fn killed() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    write_more(&store);
    disk.fork()
}

/// In the checkpoint and in the log.
fn expiring() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let set_ttl = |key, value| store.set_ttl(key, value, SEVEN_THOUSAND_YEARS_MS).expect("a disk without faults");
    set_ttl(b"expires", b"from the checkpoint");
    set(&store, b"stays", b"from the checkpoint");
    store.checkpoint().expect("a disk without faults");
    set_ttl(b"expires, too", b"from the log");
    set_ttl(b"taken back", b"would expire");
    set(&store, b"taken back", b"stays");
    store.close().expect("a disk without faults");
    disk
}

fn checkpoint_and_log() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    store.checkpoint().expect("a disk without faults");
    write_more(&store);
    store.close().expect("a disk without faults");
    disk
}

/// A checkpoint at record 5; a second one, after record 6, that could not take its name, so that the log goes on in
/// `wal.next`; and a third one that was being written when the process died.
fn checkpoint_unfinished() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    store.checkpoint().expect("a disk without faults");
    set(&store, b"behind the checkpoint", b"in wal.log");
    fail_rename(&disk, 0);
    store.checkpoint().expect_err("a rename fails");
    write_more(&store);
    disk.keep_moments(1024, 1);
    store.checkpoint().expect("a disk without faults");
    let is_written = |disk: &SimDisk| disk.contents("/store/checkpoint.tmp").is_some_and(|bytes| !bytes.is_empty());
    let moments = disk.take_moments();
    moments.iter().map(|moment| moment.killed(1)).find(is_written).expect("it has another name first")
}

/// The checkpoint is complete, but `wal.next`, to which the log went on, could not take the name of `wal.log`.
fn log_not_retired() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    fail_rename(&disk, 1);
    store.checkpoint().expect_err("a rename fails");
    write_more(&store);
    disk.fork()
}

/// Has one rename fail, after so many that succeed.
fn fail_rename(disk: &SimDisk, after: u64) {
    disk.fail(Fault { call: Some(Call::Rename), after, times: 1, errno: libc::EIO, short_first: false });
}

/// The last record, and with it its batch, lacks a byte.
fn torn() -> SimDisk {
    let disk = closed();
    let log = disk.contents(LOG).expect("it is there");
    disk.overwrite(LOG, &log[..log.len() - 1]);
    disk
}

/// A bit of the fifth record is wrong, and those behind it say that it was durable.
fn damaged() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    write_some(&store);
    let end_of_fifth = store.stats().wal_bytes as usize;
    write_more(&store);
    store.close().expect("a disk without faults");
    let mut log = disk.contents(LOG).expect("it is there");
    log[end_of_fifth - 1] ^= 1;
    disk.overwrite(LOG, &log);
    disk
}

fn log_alone() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut log = Log::open_on(&disk, Path::new(LOG_ALONE)).expect("a disk without faults");
    let record = |op, key, value, expires_at, more| Record { lsn: 0, durable_lsn: 0, op, more, expires_at, key, value };
    let records: [Record<'_>; 5] = [
        record(Op::Put, b"key", b"value", 0, false),
        record(Op::PutExpiring, b"expires", b"late", SEVEN_THOUSAND_YEARS_MS, false),
        record(Op::Put, b"in a batch", b"first", 0, true),
        record(Op::Delete, b"key", b"", 0, false),
        record(Op::Put, b"", b"\0\xff", 0, false),
    ];
    for record in &records {
        log.append(record).expect("a disk without faults");
    }
    log.close().expect("a disk without faults");
    disk
}
