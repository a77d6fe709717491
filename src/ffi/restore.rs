//! `kv_restore`: a store out of a backup and an archive.

use std::mem;
use std::os::raw::{c_char, c_int};

use super::constants::*;
use super::store::{c_path, optional_path};
use super::{call, invalid, read_struct, struct_size, write_struct};
use crate::error::Result;
use crate::restore::{self, Restored, Sources, Until};

/// What kv_restore() is to make a store of, and up to where. Set all of it to zero, then struct_size, then what you need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_restore_options {
    /// sizeof(kv_restore_options) of the program, set before the call.
    pub struct_size: usize,
    /// A backup, or any other copy of the store's directory, to begin with. NULL: none.
    pub backup_dir: *const c_char,
    /// The archive: what the store was opened with as kv_options.archive_dir. NULL: none.
    pub archive_dir: *const c_char,
    /// The store itself, for the records that no checkpoint has retired yet; without a backup it is also what is begun with. It
    /// may be open, in any process, or damaged: up to the damage it can be restored, if until_lsn or until_ms says so. NULL: none.
    pub store_dir: *const c_char,
    /// Restore up to this record, included; a batch that goes on behind it is left out whole. 0: no such limit.
    pub until_lsn: u64,
    /// Restore what was durable at this time, in Unix milliseconds, as far as the archive knows. 0: no such limit.
    pub until_ms: u64,
}

/// What was restored, filled by kv_restore().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_restored {
    /// sizeof(kv_restored) of the program, set before the call.
    pub struct_size: usize,
    /// LSN of the last record: the store is as of this one.
    pub last_lsn: u64,
    /// LSN of the checkpoint that it began with, 0 if it began with the first record.
    pub checkpoint_lsn: u64,
    /// Records behind the checkpoint.
    pub records: u64,
    /// With until_ms: when the archive noted that the last record was durable, in Unix milliseconds; otherwise 0.
    pub noted_ms: u64,
}

/// Makes a store in dest_dir, which must not exist or be empty, as it was after some record or at some time: out of a checkpoint,
/// the logs in an archive, and those of the store. All are only read, and may be in use. What was made is verified, and durable
/// when the call returns; a crash leaves no store in dest_dir, or all of it; a call that fails removes what it made. out may be
/// NULL; its struct_size the caller has set.
///
/// By a time: while a store is open with an archive, it is noted there, 20 times a second if there is something new, which record
/// is the last durable one; the last of these notes that is not later decides. So nothing comes back that was acknowledged after
/// that time, and what became durable 100 ms before it or earlier does, but for what was not noted any more: when the process was
/// killed, the last moment before that; when the power failed, the last second. (In the relaxed modes, what is acknowledged
/// becomes durable later.) The time is the system clock's; if that was set back so that a time came twice, and that makes a
/// difference, it is KV_INVALID.
///
/// Blocks on the disk: reads the checkpoint and all records behind it, and writes them.
///
/// Returns KV_OK; KV_INVALID, also if dest_dir holds something, if the records do not go so far or the backup is later than what
/// is asked for; KV_CORRUPT if records are missing in between, are damaged, or belong to another history; KV_VERSION; KV_IO, also
/// if a directory is not there; KV_LOCKED if somebody else makes a store in dest_dir; KV_NO_SPACE; KV_NO_MEMORY.
///
/// # Safety
/// `dest_dir` is NULL or NUL-terminated; `options` is NULL or has a valid struct_size, and paths that are NULL or NUL-terminated;
/// `out` is NULL or has a valid struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kv_restore(
    dest_dir: *const c_char,
    options: *const kv_restore_options,
    out: *mut kv_restored,
) -> c_int {
    call("kv_restore", || {
        let size = match out.is_null() {
            true => None,
            // SAFETY: the promise of this function.
            false => Some(unsafe { struct_size(out, "out")? }),
        };
        if let Some(size) = size {
            // SAFETY: `size` is the struct_size just read from `out`, and zeros are a valid kv_restored.
            unsafe { write_struct(out, size, &mem::zeroed::<kv_restored>()) };
        }
        // SAFETY: the promises of this function are those of the helpers.
        let (dest, (sources, until)) = unsafe { (c_path(dest_dir, "dest_dir")?, read_options(options)?) };
        let restored = restore::restore(dest, &sources, until)?;
        if let Some(size) = size {
            // SAFETY: as above.
            unsafe { write_struct(out, size, &restored_struct(&restored)) };
        }
        Ok(KV_OK)
    })
}

/// # Safety
/// `ptr` is NULL or has a valid struct_size, and paths that are NULL or NUL-terminated.
unsafe fn read_options(ptr: *const kv_restore_options) -> Result<(Sources, Until)> {
    // SAFETY: the caller's promise; a kv_restore_options of zeros is valid.
    let given = unsafe { read_struct(ptr, "options")? };
    // SAFETY: the caller's promise.
    let path = |path, what| unsafe { optional_path(path, what) };
    let sources = Sources {
        backup: path(given.backup_dir, "options->backup_dir")?,
        archive: path(given.archive_dir, "options->archive_dir")?,
        store: path(given.store_dir, "options->store_dir")?,
    };
    let until = match (given.until_lsn, given.until_ms) {
        (0, 0) => Until::End,
        (lsn, 0) => Until::Lsn(lsn),
        (0, ms) => Until::Time(ms),
        _ => return Err(invalid("options->until_lsn and options->until_ms are both given")),
    };
    Ok((sources, until))
}

fn restored_struct(restored: &Restored) -> kv_restored {
    kv_restored {
        struct_size: mem::size_of::<kv_restored>(),
        last_lsn: restored.last_lsn,
        checkpoint_lsn: restored.checkpoint_lsn,
        records: restored.records,
        noted_ms: restored.noted_ms.unwrap_or(0),
    }
}
