//! Writes inputs for the fuzz targets to begin with, made from real stores: `seeds DIR` fills DIR/record, DIR/log and so
//! on. What `fuzz/corpus` holds has grown from these by `make fuzz`, and was reduced to the inputs that still add
//! an edge by the target's own `-merge=1 -use_counters=0 fuzz/corpus/TARGET target/fuzz/corpus/TARGET`. When a format
//! changes, it grows again from here.

use std::fs;
use std::io;
use std::path::Path;

use kvwal::format::{self, Op, Record};
use kvwal_fuzz::support::reader::{self, Files};
use kvwal_fuzz::support::sample;

fn record(lsn: u64, op: Op, more: bool, key: &[u8], value: &[u8]) -> Vec<u8> {
    let expires_at = if op == Op::PutExpiring { 1_900_000_000_000 } else { 0 };
    let mut bytes = Vec::new();
    let record = Record { lsn, durable_lsn: lsn - 1, op, more, expires_at, key, value };
    format::encode(&record, &mut bytes).expect("small and right");
    bytes
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let mut newer = record(1, Op::Put, false, b"key", b"value");
    newer[24] = 4;
    vec![
        ("put", record(1, Op::Put, false, b"key", b"value")),
        ("put-empty", record(1, Op::Put, false, b"", b"")),
        ("put-in-batch", record(1, Op::Put, true, b"key", b"value")),
        ("delete", record(1, Op::Delete, false, b"key", b"")),
        ("put-expiring", record(1, Op::PutExpiring, false, b"key", b"value")),
        ("newer-op", newer),
        ("text", b"# Not a record, but a text that somebody put in its place.\n".to_vec()),
    ]
}

fn logs() -> Vec<(&'static str, Vec<u8>)> {
    let all = sample::store_of(9, false).0;
    let second = reader::record(&all).expect("the first").len;
    let zeros_ahead = [&all[..], &[0; 200]].concat();
    let inner = [record(1, Op::Put, false, b"outer", &all[..second]), all[second..].to_vec()].concat();
    vec![
        ("all", all.clone()),
        ("torn", all[..all.len() - 3].to_vec()),
        ("begins-late", all[second..].to_vec()),
        ("zeros-ahead", zeros_ahead),
        ("record-in-value", inner),
        ("open-batch", [record(1, Op::Put, true, b"a", b"b"), record(2, Op::Put, true, b"c", b"d")].concat()),
    ]
}

/// A checkpoint with an entry of two blocks, all of it small; what is left blank in it is filled in by the target.
fn with_large_entry(checkpoint: &[u8]) -> Vec<u8> {
    let block = |kind: u32, payload: &[u8]| {
        let len = (16 + payload.len()) as u32;
        [&[0; 4], &len.to_be_bytes()[..], &[0; 4], &kind.to_be_bytes(), payload].concat()
    };
    let entry = [&[0, 0, 1][..], &20u32.to_be_bytes(), b"k", &[7; 20]].concat();
    let mut bytes = [&checkpoint[..64], &block(2, &entry[..15]), &block(3, &entry[15..])].concat();
    bytes[32..40].copy_from_slice(&1u64.to_be_bytes());
    bytes
}

fn open_input(files: &Files, others: &[&[u8]]) -> Vec<u8> {
    let own = [&files.log, &files.next, &files.checkpoint].map(|file| file.as_deref());
    let all: Vec<Option<&[u8]>> = own.into_iter().chain(others.iter().copied().map(Some)).collect();
    let mask = all.iter().enumerate().fold(0u8, |mask, (number, file)| mask | u8::from(file.is_some()) << number);
    let there: Vec<&[u8]> = all.into_iter().flatten().collect();
    let mut input = vec![mask];
    for (number, file) in there.iter().enumerate() {
        if number + 1 < there.len() {
            input.extend((file.len() as u16).to_be_bytes());
        }
        input.extend(*file);
    }
    input
}

/// What clients of the server send, right and wrong.
fn streams() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("text", b"SET foo bar\nGET foo\r\n  DEL\tfoo \n\nSTATS\n"),
        ("text-rubbish", b"GET \x01\n\xff\xfe\n\0\n\r\r\nSET k v"),
        ("text-long", b"SET key 0123456789012345678901234567890123456789\nGET k\n"),
        ("resp", b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n*1\r\n$4\r\nPING\r\n"),
        ("resp-empty", b"*0\r\n*-1\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
        (
            "resp-long",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40\r\n0123456789012345678901234567890123456789\r\n*1\r\n$1\r\nA\r\n",
        ),
        ("resp-many", b"*6\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n*1\r\n$1\r\nA\r\n"),
        ("resp-broken", b"*2\r\n$3\r\nGETfoo\r\n"),
        ("resp-huge", b"*2147483648\r\n$1099511627777\r\n"),
        ("resp-then-text", b"*1\r\n$4\r\nPING\r\nGET foo\n"),
    ]
}

fn write(dir: &Path, target: &str, name: &str, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let dir = dir.join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), [head, bytes].concat())
}

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: seeds DIR"))?;
    let dir = Path::new(&dir);
    for (limits, (name, bytes)) in (0..3u8).flat_map(|limits| streams().into_iter().map(move |stream| (limits, stream)))
    {
        write(dir, "protocol", &format!("{name}-limits-{limits}"), &[limits, 7], bytes)?;
    }
    for level in 0..3u8 {
        let named = |name: &str| format!("{name}-{}", ["raw", "checksums", "counts"][usize::from(level)]);
        for (name, bytes) in records() {
            write(dir, "record", &named(name), &[level], &bytes)?;
        }
        for (name, bytes) in logs() {
            write(dir, "log", &named(name), &[level, 0], &bytes)?;
        }
        for (number, (_, files)) in sample::stores().iter().enumerate() {
            let others: [&[u8]; 5] = [b"half a checkpoint", b"123\n", b"cut off", b"half", b"damaged"];
            for (name, others) in [("alone", &[][..]), ("beside-others", &others)] {
                let name = named(&format!("store-{number}-{name}"));
                write(dir, "open", &name, &[level], &open_input(files, others))?;
            }
            for (choice, checkpoint) in (0..2u8).zip(std::iter::repeat(files.checkpoint.as_ref())) {
                let Some(checkpoint) = checkpoint else { continue };
                let name = named(&format!("of-store-{number}-log-{choice}"));
                write(dir, "checkpoint", &name, &[level, choice], checkpoint)?;
                let name = named(&format!("large-{number}-log-{choice}"));
                write(dir, "checkpoint", &name, &[level, choice], &with_large_entry(checkpoint))?;
            }
        }
    }
    Ok(())
}
