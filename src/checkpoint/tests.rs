use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::layout::{BlockKind, EntryHead, HEADER_LEN, Header, block_header};
use super::reader::{Entry, Verify, Visitor, read, read_in_pieces};
use super::writer;
use crate::error::{ErrorKind, Result};
use crate::format::{Lsn, Op};
use crate::sys::block::{Block, MAX_LSN};
use crate::sys::sync::Mutex;
use crate::table::Table;
use crate::vfs::sim::{Call, Direct, Fault, SimDisk};
use crate::vfs::stream::Stream;
use crate::vfs::{Access, Vfs};
use crate::{Options, Store};

const FILE: &str = "/file";
const NOW: u64 = 1000;

type Entries = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Gathers entries.
#[derive(Default)]
struct Gather(Mutex<Entries>);

impl Visitor for Gather {
    type Batch = Vec<(Vec<u8>, (Vec<u8>, u64))>;

    fn entry(&self, batch: &mut Self::Batch, entry: Entry<'_>) -> Result<()> {
        batch.push((entry.key.to_vec(), (entry.value.to_vec(), entry.expires_at)));
        Ok(())
    }

    fn end(&self, batch: &mut Self::Batch) -> Result<()> {
        self.0.lock().extend(batch.drain(..));
        Ok(())
    }
}

fn stream(disk: &SimDisk) -> Stream {
    Stream::new(disk, Path::new(FILE), disk.open(Path::new(FILE), Access::Create).unwrap())
}

/// Six megabytes: short values, values just below and above the limit, and some that take several blocks.
fn sample() -> Entries {
    let mut entries = Entries::new();
    entries.insert(vec![], (vec![], 0));
    for number in 0..10_000u32 {
        let len = if number.is_multiple_of(97) { 1000 } else { 100 };
        let expires_at = if number.is_multiple_of(5) { NOW + 1 } else { 0 };
        entries.insert(number.to_be_bytes().to_vec(), (vec![number as u8; len], expires_at));
    }
    // The head of one takes 9 bytes of its first block, of which the longest payload is 1 MiB.
    let lens = [65_535, 65_536, (1 << 20) - 9, (1 << 20) - 8, 1 << 20, (1 << 20) + 1, 2_500_000];
    for (number, len) in lens.into_iter().enumerate() {
        entries.insert(vec![number as u8; 2], (vec![7; len], 0));
    }
    entries
}

fn table(entries: &Entries) -> (Table, Lsn) {
    let table = Table::new([1, 2]);
    let mut lsn = 0;
    for (key, (value, expires_at)) in entries {
        lsn += 1;
        let block = Block::new(table.pool(), key, value, *expires_at).unwrap();
        table.apply(&mut table.change(Op::Put, block), lsn, || 0).unwrap();
    }
    (table, lsn)
}

fn write(disk: &SimDisk, entries: &Entries, is_helped: bool) -> Result<Header> {
    let (table, lsn) = table(entries);
    writer::write(&mut stream(disk), Path::new(FILE), table.snapshot(lsn), 42, NOW, is_helped)
}

#[test]
fn the_file_is_the_same_whatever_the_disk_can_do() {
    let entries = sample();
    let disk = SimDisk::new(1);
    let header = write(&disk, &entries, false).unwrap();
    let expected = disk.contents(FILE).unwrap();
    assert_eq!((header.keys, header.file_len), (entries.len() as u64, expected.len() as u64));
    assert_eq!((header.lsn, header.wal_offset, header.created_at), (header.keys, 42, NOW));
    for direct in [Direct::Works, Direct::NotOffered, Direct::Refused, Direct::RefusedAfter(1), Direct::RefusedAfter(4)]
    {
        for is_helped in [false, true] {
            let disk = SimDisk::new(1);
            disk.set_direct(direct);
            assert_eq!(write(&disk, &entries, is_helped).unwrap(), header);
            assert!(disk.contents(FILE).unwrap() == expected, "{direct:?}, {is_helped}");
            disk.set_direct(direct);
            for helpers in [0, 1, 3] {
                let found = Gather::default();
                assert_eq!(read(&mut stream(&disk), Path::new(FILE), helpers, &found).unwrap(), header);
                assert!(*found.0.lock() == entries, "{direct:?}, {helpers} helpers");
            }
        }
    }
}

#[test]
fn what_has_expired_and_what_an_earlier_attempt_left_is_not_written() {
    let disk = SimDisk::new(1);
    write(&disk, &sample(), false).unwrap();
    let mut entries = Entries::new();
    entries.insert(b"gone".to_vec(), (vec![1; 100_000], NOW));
    entries.insert(b"there".to_vec(), (vec![2; 10], NOW + 1));
    let header = write(&disk, &entries, true).unwrap();
    entries.remove(&b"gone"[..]);
    let found = Gather::default();
    assert_eq!(read(&mut stream(&disk), Path::new(FILE), 0, &found).unwrap(), header);
    assert!(*found.0.lock() == entries);
}

#[test]
fn many_long_entries_under_one_hold_of_a_lock_are_spread_over_blocks() {
    let entries: Entries = (0..2000u32).map(|at| (at.to_be_bytes().to_vec(), (vec![at as u8; 60_000], 0))).collect();
    let disk = SimDisk::new(1);
    let header = write(&disk, &entries, false).unwrap();
    assert!(header.blocks > 100);
    let found = Gather::default();
    read(&mut stream(&disk), Path::new(FILE), 2, &found).unwrap();
    assert!(*found.0.lock() == entries);
}

#[test]
fn each_write_that_fails_or_is_short() {
    let entries = sample();
    let disk = SimDisk::new(1);
    write(&disk, &entries, false).unwrap();
    let expected = disk.contents(FILE).unwrap();
    for is_helped in [false, true] {
        for errno in [0, libc::ENOSPC, libc::EIO] {
            let mut after = 0;
            loop {
                let disk = SimDisk::new(after);
                disk.fail(Fault { call: Some(Call::Write), after, times: 1, errno, short_first: false });
                let written = write(&disk, &entries, is_helped);
                if !disk.heal() {
                    break;
                }
                match errno {
                    0 => assert!(written.is_ok() && disk.contents(FILE).unwrap() == expected),
                    libc::ENOSPC => assert_eq!(written.unwrap_err().kind(), ErrorKind::NoSpace),
                    _ => assert_eq!(written.unwrap_err().kind(), ErrorKind::Io),
                }
                after += 1;
            }
            assert!(after >= 4, "{after} writes");
        }
    }
}

#[test]
fn a_read_that_fails_is_an_error_of_the_disk() {
    let disk = SimDisk::new(1);
    write(&disk, &sample(), false).unwrap();
    for helpers in [0, 2] {
        for after in 0..3 {
            let mut stream = stream(&disk);
            disk.fail(Fault { call: Some(Call::Read), after, times: 1, errno: libc::EIO, short_first: false });
            let error = read(&mut stream, Path::new(FILE), helpers, &Verify).unwrap_err();
            assert!(disk.heal());
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
    }
}

/// A block before it has a place.
type Part = (BlockKind, Vec<u8>);

fn entry(key: &[u8], value: &[u8], expires_at: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    EntryHead { key, value_len: value.len(), expires_at }.encode(&mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

/// Some blocks that end anywhere in a page, and two large entries in parts.
fn parts() -> (Vec<Part>, u64) {
    let entries = |block: u8| (0..=block).flat_map(|at| entry(&[block, at], &[at; 700], 0)).collect::<Vec<u8>>();
    let large = |name: &[u8]| entry(name, &[9; 15_000], 0);
    let mut parts: Vec<Part> = (0..4).map(|block| (BlockKind::Entries, entries(block))).collect();
    for name in [b"one", b"two"] {
        let bytes = large(name);
        parts.push((BlockKind::LargeFirst, bytes[..5000].to_vec()));
        parts.push((BlockKind::LargeMore, bytes[5000..9000].to_vec()));
        parts.push((BlockKind::LargeMore, bytes[9000..].to_vec()));
    }
    parts.extend((4..7).map(|block| (BlockKind::Entries, entries(block))));
    (parts, (1..=7).sum::<u64>() + 2)
}

fn file(parts: &[Part], header: Header) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    for (index, (kind, payload)) in (0..).zip(parts) {
        bytes.extend(block_header(index, *kind, payload));
        bytes.extend(payload);
    }
    let blocks = header.blocks.wrapping_add(parts.len() as u32);
    let header = Header { file_len: bytes.len() as u64, blocks, ..header };
    bytes[..HEADER_LEN].copy_from_slice(&header.encode());
    bytes
}

/// Reads a file one block after the other, and with several threads and pieces of several lengths.
fn read_in_all_ways(contents: &[u8]) -> Vec<Result<Header>> {
    let disk = SimDisk::new(1);
    drop(stream(&disk));
    disk.overwrite(FILE, contents);
    [(0, 1 << 20), (0, 4096), (2, 4096), (3, 8192)]
        .map(|(helpers, piece)| read_in_pieces(&mut stream(&disk), Path::new(FILE), helpers, piece, &Gather::default()))
        .into()
}

fn assert_corrupt_in_all_ways(contents: &[u8], what: &str, reason: &str) {
    let results = read_in_all_ways(contents);
    let first = results[0].as_ref().expect_err(what);
    assert_eq!(first.kind(), ErrorKind::Corrupt, "{what}");
    assert!(first.to_string().contains(reason), "{what}: {first}");
    results.iter().for_each(|result| assert_eq!(result, &results[0], "{what}"));
}

#[test]
fn damage_is_found_and_named_alike_however_the_file_is_read() {
    let (parts, keys) = parts();
    let header = Header { lsn: 1, keys, ..Header::default() };
    let good = file(&parts, header);
    assert!(read_in_all_ways(&good).iter().all(Result::is_ok));
    let (mut at, mut entry_at) = (HEADER_LEN, HEADER_LEN);
    for (kind, payload) in &parts {
        if *kind != BlockKind::LargeMore {
            // A large entry is named by its first block.
            entry_at = at;
        }
        let place = format!("at offset {entry_at}:");
        for byte in (0..16).chain([16, 16 + payload.len() / 2, 15 + payload.len()]) {
            let mut damaged = good.clone();
            damaged[at + byte] ^= 1 << (byte % 8);
            let what = format!("byte {byte} of the block at {at}");
            assert_corrupt_in_all_ways(&damaged, &what, &place);
            // And a second time, further behind: the first is the one that counts.
            let last = damaged.len() - 1;
            if at + byte < last {
                damaged[last] ^= 1;
                assert_corrupt_in_all_ways(&damaged, &format!("{what}, and the last"), &place);
            }
        }
        at += 16 + payload.len();
    }
}

#[test]
fn blocks_that_do_not_make_a_whole_are_corrupt() {
    let (good, keys) = parts();
    let header = Header { lsn: 1, keys, ..Header::default() };
    let check = |what: &str, reason: &str, header: Header, change: &dyn Fn(&mut Vec<Part>)| {
        let mut parts = good.clone();
        change(&mut parts);
        assert_corrupt_in_all_ways(&file(&parts, header), what, reason);
    };
    check("a block less", "keys in", header, &|parts| drop(parts.pop()));
    check("one that is twice there", "keys in", header, &|parts| parts.push(parts[0].clone()));
    check("one more key", "keys in", Header { keys: keys + 1, ..header }, &|_| ());
    check("one more block", "ends inside", Header { blocks: 1, ..header }, &|_| ());
    check("one block less", "keys in", Header { blocks: u32::MAX, ..header }, &|_| ());
    check("large without its end", "missing", header, &|parts| drop(parts.remove(6)));
    check("large without its middle", "missing", header, &|parts| drop(parts.remove(5)));
    check("large without its beginning", "continues no", header, &|parts| drop(parts.remove(4)));
    check("large at the end", "longer than the file", header, &|parts| parts.truncate(5));
    check("large beyond the end", "longer than the file", header, &|parts| {
        parts[7].1[3..7].copy_from_slice(&[0x3f, 0, 0, 0]);
    });
    check("an entry cut off", "cut off", header, &|parts| parts[3].1.truncate(1000));
    check("an entry that expires at the time 0", "at the time 0", header, &|parts| {
        parts[3].1 = [&[1, 0, 1, 0, 0, 0, 1][..], &[0; 8], b"kv"].concat();
    });
    check("more behind a large entry", "cut off", header, &|parts| parts[6].1.push(1));
}

#[test]
fn a_key_that_is_there_twice_is_corrupt_also_if_it_has_expired() {
    let disk = SimDisk::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    disk.create_dir(Path::new("/store")).unwrap();
    let open = || Store::open_on(Arc::clone(&vfs), "/store", &Options::default());
    let store = open().unwrap();
    store.set(b"key", b"value").unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    let (past, never) = (vfs.now_ms() - 1, 0);
    let open_with = |entries: &[Vec<u8>]| {
        let header = Header { lsn: 1, keys: entries.len() as u64, ..Header::default() };
        disk.overwrite("/store/checkpoint.dat", &file(&[(BlockKind::Entries, entries.concat())], header));
        open()
    };
    for expiries in [[never, never], [past, never], [never, past], [past, past]] {
        let twice = expiries.map(|expires_at| entry(b"key", b"value", expires_at));
        let error = open_with(&twice).err().expect("it is there twice");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("twice"), "{error}");
    }
    let mut entries = vec![entry(b"key", b"value", never)];
    entries.extend((0..1000u32).map(|at| entry(&at.to_be_bytes(), b"old", past)));
    let store = open_with(&entries).unwrap();
    assert_eq!((store.stats().keys, store.recovery_report().keys_expired), (1, 1000));
    assert_eq!(store.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_newer_version_is_not_damage() {
    let good = Header { lsn: 7, keys: 2, ..Header::default() }.encode();
    assert_eq!(Header::decode(&good).unwrap(), Header { lsn: 7, keys: 2, ..Header::default() });
    // Version and flags, the last byte of each.
    for at in [11, 15] {
        let mut newer = good;
        newer[at] += 1;
        assert_eq!(Header::decode(&newer).unwrap_err().kind(), ErrorKind::Corrupt, "the checksum is wrong");
        let checksum = crc32fast::hash(&newer[..60]);
        newer[60..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(Header::decode(&newer).unwrap_err().kind(), ErrorKind::Version, "byte {at}");
    }
}

#[test]
fn an_entry_with_unknown_flags_or_too_long_a_value_is_corrupt() {
    let decode = |flags: u8, value_len: u32| {
        let head = [&[flags, 0, 3][..], &value_len.to_be_bytes(), &[1; 8], b"key"].concat();
        EntryHead::decode(&head).map(|(head, _)| head.value_len).map_err(|error| error.kind())
    };
    assert_eq!((decode(0, 5), decode(1, 5)), (Ok(5), Ok(5)));
    assert_eq!((decode(2, 5), decode(0x81, 5)), (Err(ErrorKind::Corrupt), Err(ErrorKind::Corrupt)));
    assert_eq!((decode(0, 1 << 30), decode(0, (1 << 30) + 1)), (Ok(1 << 30), Err(ErrorKind::Corrupt)));
}

#[test]
fn numbers_end_with_the_last_that_a_block_can_hold() {
    let disk = SimDisk::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let open = || Store::open_on(Arc::clone(&vfs), "/store", &Options::default());
    let store = open().unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    let open_at = |lsn: Lsn| {
        let header = Header { lsn, keys: 1, ..Header::default() };
        disk.overwrite("/store/checkpoint.dat", &file(&[(BlockKind::Entries, entry(b"key", b"value", 0))], header));
        open()
    };
    let error = open_at(MAX_LSN + 1).err().expect("no record has that number");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    open_at(MAX_LSN).unwrap().close().unwrap();
    let store = open_at(MAX_LSN - 1).unwrap();
    store.set(b"last", b"").unwrap();
    assert_eq!(store.set(b"one more", b"").unwrap_err().kind(), ErrorKind::NoSpace);
    store.close().unwrap();
    let store = open().unwrap();
    assert_eq!((store.stats().last_lsn, store.stats().keys), (MAX_LSN, 2));
    assert_eq!(store.set(b"one more", b"").unwrap_err().kind(), ErrorKind::NoSpace);
}
