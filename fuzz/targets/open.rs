//! A whole opening of a directory with arbitrary files, in both recovery modes.
//!
//! Input: a byte for how much is put right, one that says which files there are, two with its length for each of them but
//! the last, then their contents.
#![no_main]

use std::path::Path;

use kvwal::vfs::Vfs;
use kvwal_fuzz::counting::Counting;
use kvwal_fuzz::seal::{self, Level};
use kvwal_fuzz::support::opening::{Evidence, check_open, disk_with, put_file};
use kvwal_fuzz::support::reader::Files;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The other files, among them some that recovery would like to make itself.
const OTHERS: [&str; 5] = [
    "/store/checkpoint.tmp",
    "/store/LOCK",
    "/store/quarantine/wal.log-lsn-2-offset-0",
    "/store/quarantine/wal.log-lsn-1-offset-0.tmp",
    "/store/quarantine/checkpoint.dat-lsn-0-offset-0",
];

/// Takes the file of this number off an input, if it is there; `mask` says which there are.
fn take(mask: u8, number: u32, rest: &mut &[u8]) -> Option<Vec<u8>> {
    if mask & (1 << number) == 0 {
        return None;
    }
    let is_last = mask >> number == 1;
    let (len, behind) = match rest.split_first_chunk::<2>() {
        Some((len, behind)) if !is_last => (usize::from(u16::from_be_bytes(*len)).min(behind.len()), behind),
        _ => (rest.len(), *rest),
    };
    let (file, behind) = behind.split_at(len);
    *rest = behind;
    Some(file.to_vec())
}

fn check(level: Level, mask: u8, mut rest: &[u8]) {
    let mut files =
        Files { log: take(mask, 0, &mut rest), next: take(mask, 1, &mut rest), checkpoint: take(mask, 2, &mut rest) };
    [&mut files.log, &mut files.next].into_iter().flatten().for_each(|log| seal::log(log, level));
    files.checkpoint.iter_mut().for_each(|checkpoint| seal::checkpoint(checkpoint, level));
    let disk = disk_with(&files);
    if mask >> 5 != 0 {
        disk.create_dir(Path::new("/store/quarantine")).expect("it is not there");
    }
    for (number, path) in (3..).zip(OTHERS) {
        if let Some(contents) = take(mask, number, &mut rest) {
            put_file(&disk, path, &contents);
        }
    }
    check_open(&disk, &files, Evidence::Doubtful, &|| format!("files {mask:08b}"));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [level, mask, rest @ ..] = input else { return };
    kvwal_fuzz::bounded(input, || check(Level::of(*level), *mask, rest));
});
