//! Zeros ahead of a log's records, written by a background thread.
//!
//! # Why
//!
//! A sync of a file whose length or blocks have changed must commit that, too, which costs half as much again, and three
//! times as much on a file system with a journal. So there are zeros on the disk ahead of the last record, and the sync
//! of a record that is written over them commits nothing but the record. Writing those zeros must not cost a writer
//! anything: a thread of the store does that, the *filler*.
//!
//! # Who may write where
//!
//! **The invariant:** the bytes of the file below [`filled`](Space::filled) belong to the log's writer, those from there on
//! to whoever holds the lock of the [`Frontier`]. `filled` changes only under that lock, and only its holder lowers it.
//!
//! - A writer whose group ends at `filled` or below takes no lock. The filler never writes there: so no zero ever
//!   overwrites a record.
//! - The filler takes the lock for one small piece, writes it from `filled` on, raises `filled` to its end, and lets go.
//!   As it begins where the file's zeros end, it never leaves a hole. The pieces are small because a writer may be
//!   waiting, for the lock or for the kernel's own of the file.
//! - A writer whose group ends beyond `filled` takes the lock, writes, and raises `filled`.
//! - Who cuts the file off (a write that is rolled back; the close) takes the lock, and lowers `filled` to the new end.
//!   After a close the filler writes no more.
//!
//! # When it fails
//!
//! The filler has a file description of its own. The kernel reports a failed write-back once for each, so the filler's
//! sync cannot take away an error that the writer's must see; and it sets the latch all the same. When there is no room
//! for zeros the filler gives up, and writers go on without it: as they do when it is slower than they are, or when there
//! is none. Then the write of a small group carries some zeros behind it, and when that succeeds the filler gets another
//! chance.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Latch;
use crate::error::{Error, Result};
use crate::sys::event::Bell;
use crate::sys::sync::{Mutex, MutexGuard};
use crate::vfs::{self, File};

/// Less than this ahead is not worth a thread: writers carry it themselves.
pub const LEAST_FOR_FILLER: u64 = 64 << 10;
/// Most zeros that a writer carries.
const MOST_CARRIED: u64 = 256 << 10;
/// The filler writes so much at once.
const PIECE: u64 = 32 << 10;
/// The filler syncs when it has written so much: a writer's sync waits for all of the file that is not on the disk yet.
const PIECES_A_SYNC: u64 = 8;

const _: () = assert!(LEAST_FOR_FILLER >= 2 * PIECE);

/// The space of one log file.
pub struct Space {
    /// How many zeros there should be ahead.
    ahead: u64,
    filled: AtomicU64,
    frontier: Mutex<Frontier>,
    filler: Option<Filler>,
}

/// What its lock guards: everything from [`Space::filled`] on.
pub struct Frontier {
    /// The file is not longer than this.
    longest: u64,
    is_closed: bool,
}

struct Filler {
    /// The same file, opened once more.
    file: Arc<dyn File>,
    path: PathBuf,
    bell: Arc<Bell>,
    /// There should be zeros up to here.
    wanted: AtomicU64,
    /// The filler has been called, and has not come to an end yet; or it has failed.
    is_called: AtomicBool,
    has_failed: AtomicBool,
}

impl Space {
    /// The space of a file that is `len` bytes long; writers carry what is to be ahead.
    pub fn new(len: u64, ahead: u64) -> Space {
        let frontier = Mutex::new(Frontier { longest: len, is_closed: false });
        Space { ahead, filled: AtomicU64::new(len), frontier, filler: None }
    }

    /// The same with a filler, which is called by `bell`. `file` has been opened for it alone.
    pub fn with_filler(len: u64, ahead: u64, file: Arc<dyn File>, path: PathBuf, bell: Arc<Bell>) -> Space {
        let (wanted, is_called, has_failed) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let filler = Some(Filler { file, path, bell, wanted, is_called, has_failed });
        Space { filler, ..Space::new(len, ahead) }
    }

    /// Where the zeros end: what is below belongs to the writer.
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes possession of what is beyond.
    pub fn lock(&self) -> MutexGuard<'_, Frontier> {
        self.frontier.lock()
    }

    /// How many zeros a group of `len` bytes, which does not fit into those that are there, is to carry: none if the
    /// filler is about to write them, or if the group is so large that its own sync costs more than they could save.
    pub fn to_carry(&self, len: u64) -> u64 {
        let zeros = self.ahead.min(MOST_CARRIED);
        let is_coming = self.filler.as_ref().is_some_and(|filler| !filler.has_failed.load(Ordering::Relaxed));
        if is_coming || len >= zeros { 0 } else { zeros }
    }

    /// Notes that the file was written up to `end`, `carried` of it zeros.
    pub fn extend(&self, frontier: &mut Frontier, end: u64, carried: u64) {
        frontier.longest = frontier.longest.max(end);
        self.filled.swap(end, Ordering::Release);
        if let Some(filler) = &self.filler
            && carried > 0
        {
            filler.has_failed.swap(false, Ordering::Relaxed);
            filler.is_called.swap(false, Ordering::Relaxed);
        }
    }

    /// Notes that the file is about to be written up to `end`, by somebody who does not cut it back on a failure.
    pub fn reach(&self, frontier: &mut Frontier, end: u64) {
        frontier.longest = frontier.longest.max(end);
    }

    /// Notes that the file was cut off at `end`.
    pub fn cut(&self, frontier: &mut Frontier, end: u64) {
        frontier.longest = end;
        self.filled.swap(end, Ordering::Release);
    }

    /// Notes that there will be no more zeros; returns what the file's length may be.
    pub fn close(&self, frontier: &mut Frontier) -> u64 {
        frontier.is_closed = true;
        frontier.longest
    }

    /// Nothing more is wanted. Takes no lock: the piece that is being written, and one that is just begun, are finished.
    pub fn stop(&self) {
        if let Some(filler) = &self.filler {
            filler.is_called.swap(true, Ordering::Relaxed);
            filler.wanted.swap(0, Ordering::Relaxed);
        }
    }

    /// Calls the filler if the records, which end at `end`, have used up half of the zeros.
    pub fn used(&self, end: u64) {
        let Some(filler) = &self.filler else { return };
        if self.filled() >= end + self.ahead / 2 || filler.is_called.load(Ordering::Relaxed) {
            return;
        }
        // Whole pieces, and not more than `ahead`.
        filler.wanted.fetch_max((end + self.ahead) / PIECE * PIECE, Ordering::Relaxed);
        if !filler.is_called.swap(true, Ordering::Relaxed) {
            filler.bell.ring();
        }
    }

    /// The filler's work: writes zeros as far as they are wanted, and syncs them.
    pub fn fill(&self, latch: &Latch) -> Result<()> {
        let Some(filler) = &self.filler else { return Ok(()) };
        let filled = self.fill_up(filler, latch);
        match filled {
            Ok(()) => filler.is_called.swap(false, Ordering::Relaxed),
            Err(_) => filler.has_failed.swap(true, Ordering::Relaxed),
        };
        filled
    }

    fn fill_up(&self, filler: &Filler, latch: &Latch) -> Result<()> {
        loop {
            let mut pieces = 0;
            while pieces < PIECES_A_SYNC && self.fill_piece(filler, latch)? {
                pieces += 1;
            }
            if pieces == 0 {
                return Ok(());
            }
            latch.check()?;
            let synced = filler.file.sync_all();
            synced.map_err(|cause| latch.set(&Error::file("fsync", &filler.path, &cause)))?;
        }
    }

    /// Writes one piece; false if there is nothing to do.
    fn fill_piece(&self, filler: &Filler, latch: &Latch) -> Result<bool> {
        let mut frontier = self.lock();
        let from = self.filled();
        if frontier.is_closed || from >= filler.wanted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        latch.check()?;
        let to = (from + 1).next_multiple_of(PIECE);
        frontier.longest = frontier.longest.max(to);
        vfs::write_all_at(&*filler.file, &mut vfs::zeros(to - from).map(IoSlice::new).collect::<Vec<_>>(), from)
            .map_err(|cause| filler.error(from, &cause))?;
        self.filled.swap(to, Ordering::Release);
        Ok(true)
    }
}

impl Filler {
    fn error(&self, offset: u64, cause: &io::Error) -> Error {
        Error::io(format_args!("fill {} with zeros at offset {offset}", self.path.display()), cause)
    }
}

#[cfg(test)]
mod tests;
