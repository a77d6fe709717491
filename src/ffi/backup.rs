//! `kv_verify` and what else is done with a store as a whole.

use std::mem;
use std::os::raw::{c_char, c_int};

use super::constants::*;
use super::store::{c_path, with_store};
use super::types::kv_store;
use super::{call, struct_size, write_struct};
use crate::verify::{self, Verified};

/// What a store's files hold, filled by kv_verify().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_verified {
    /// sizeof(kv_verified) of the program, set before the call.
    pub struct_size: usize,
    /// KV_TAIL_CLEAN, KV_TAIL_TORN or KV_TAIL_DAMAGED, as kv_recovery_report() would say if the store were opened now.
    pub verdict: c_int,
    /// 0, or what kv_open() would return instead of opening the store: KV_CORRUPT or KV_VERSION. Then verdict is
    /// KV_TAIL_DAMAGED, first_lsn, last_lsn, durable_lsn, records and record_bytes are those of the logs by themselves, and
    /// the other numbers are 0. With KV_RECOVER_STRICT kv_open() also refuses if verdict is KV_TAIL_DAMAGED or bad_file is
    /// the checkpoint.
    pub refused: c_int,
    /// Non-zero: a process has the store open, as far as the system tells (/proc/locks), or was seen to be writing.
    pub is_open: c_int,
    /// LSN of the checkpoint, 0 if there is none, or none that counts.
    pub checkpoint_lsn: u64,
    /// Keys in it.
    pub checkpoint_keys: u64,
    /// LSN of the first record in the logs, 0 if there is none.
    pub first_lsn: u64,
    /// LSN of the last record that the store would have.
    pub last_lsn: u64,
    /// Highest LSN that the files prove to have been synced.
    pub durable_lsn: u64,
    /// Valid records in the logs, also those that the checkpoint covers.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Keys that the store would have when opened.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Length of wal.log in bytes; UINT64_MAX if there is no such file.
    pub log_size: u64,
    /// As log_size, of wal.next.
    pub next_size: u64,
    /// As log_size, of checkpoint.dat.
    pub checkpoint_size: u64,
    /// Valid records behind the first bad one.
    pub records_behind: u64,
    /// Bytes that opening would copy to quarantine/ and cut off.
    pub bytes_behind: u64,
    /// Where the first bad record or checkpoint block begins in bad_file.
    pub bad_offset: u64,
    /// The LSN that the bad record should have; 0 if it is a checkpoint block that is bad.
    pub bad_lsn: u64,
    /// Seconds that the reading took. kv_open() reads the same first, so this is a measured estimate of how long that takes
    /// on this machine, with as much of the files in the page cache; syncing what nothing proves durable comes on top.
    pub open_seconds: f64,
    /// The first file that is bad: "wal.log", "wal.next" or "checkpoint.dat"; empty if none is.
    pub bad_file: [c_char; 16],
    /// What is wrong, in words; empty if nothing is. Cut off where it is longer.
    pub reason: [c_char; 512],
}

/// Reads every record and every checkpoint block of the store in dir, and fills *out, whose struct_size the caller has set,
/// with what kv_open() would find. Changes nothing: opens no file for writing, makes none, takes no lock, and does with a
/// directory that may only be read. Beside a store that is open it takes into account that a write or a checkpoint may be
/// under way: what looks wrong only once does not count.
///
/// Blocks on the disk, and takes as much time and memory as opening the store does, twice the time if something is wrong.
///
/// Returns KV_OK, whatever it found: out->verdict and out->refused tell; KV_INVALID; KV_IO, also if there is no store in dir;
/// KV_NO_MEMORY.
///
/// # Safety
/// `dir` is NULL or NUL-terminated; `out` is NULL or has a valid struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_verify(dir: *const c_char, out: *mut kv_verified) -> c_int {
    call("kv_verify", || {
        // SAFETY: the promises of this function are those of the helpers.
        let (size, dir) = unsafe { (struct_size(out, "out")?, c_path(dir, "dir")?) };
        // SAFETY: `size` is the struct_size just read from `out`, and zeros are a valid kv_verified.
        unsafe { write_struct(out, size, &mem::zeroed::<kv_verified>()) };
        let verified = verify::verify(dir)?;
        // SAFETY: as above.
        unsafe { write_struct(out, size, &verified_struct(&verified)) };
        Ok(KV_OK)
    })
}

/// Makes a backup of the open store s: a store of its own in dest_dir, which must not exist or be empty, that holds what s
/// holds at one moment of the call, with its expiries. It is verified and durable when the call returns; opened with kv_open()
/// it goes on with the LSN after that moment's. Readers, writers and checkpoints go on meanwhile. A crash leaves no store in
/// dest_dir, or all of it. A call that fails removes what it made, and s is as it was.
///
/// Blocks on the disk. Holds the values that writers replace meanwhile in memory until it is done.
///
/// Returns KV_OK; KV_INVALID, also if dest_dir holds something: kv_errmsg() tells if that is what an interrupted backup left,
/// to be removed; KV_NO_SPACE; KV_IO; KV_NO_MEMORY; KV_FORKED.
///
/// # Safety
/// `s` is NULL or an open handle; `dest_dir` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_backup(s: *mut kv_store, dest_dir: *const c_char) -> c_int {
    with_store("kv_backup", s, |store| {
        // SAFETY: the promise of this function.
        store.backup(unsafe { c_path(dest_dir, "dest_dir")? })?;
        Ok(KV_OK)
    })
}

fn verified_struct(verified: &Verified) -> kv_verified {
    let Verified { report, refused, bad, files, .. } = verified;
    let size = |size: Option<u64>| size.unwrap_or(u64::MAX);
    let bad_file = bad.as_ref().and_then(|bad| bad.path.file_name()?.to_str()).unwrap_or_default();
    kv_verified {
        struct_size: mem::size_of::<kv_verified>(),
        verdict: report.verdict as c_int,
        refused: refused.as_ref().map_or(0, |error| error.kind() as c_int),
        is_open: c_int::from(verified.is_open),
        checkpoint_lsn: report.checkpoint_lsn,
        checkpoint_keys: report.checkpoint_keys,
        first_lsn: verified.first_lsn,
        last_lsn: report.last_lsn,
        durable_lsn: report.durable_lsn,
        records: verified.records,
        record_bytes: verified.record_bytes,
        keys: verified.keys,
        value_bytes: verified.value_bytes,
        log_size: size(files.log),
        next_size: size(files.next),
        checkpoint_size: size(files.checkpoint),
        records_behind: report.records_behind,
        bytes_behind: report.bytes_quarantined,
        bad_offset: bad.as_ref().map_or(0, |bad| bad.offset),
        bad_lsn: bad.as_ref().map_or(0, |bad| bad.lsn),
        open_seconds: report.elapsed.as_secs_f64(),
        bad_file: text(bad_file),
        reason: text(report.reason.as_deref().unwrap_or_default()),
    }
}

/// A text in a field of fixed length, with a NUL at its end; a longer one is cut, at a character.
fn text<const LEN: usize>(text: &str) -> [c_char; LEN] {
    let mut field = [0; LEN];
    let cut = text.floor_char_boundary(LEN - 1);
    for (to, from) in field.iter_mut().zip(text[..cut].bytes()) {
        *to = from as c_char;
    }
    field
}
