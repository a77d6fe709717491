//! Making a log file whole again after a crash, without losing a byte of it.
//!
//! Every step may be interrupted by the next crash, and is repeated by the next recovery:
//!
//! 1. [`prove`]: the records that nothing proves durable are written again, the same bytes in the same place, and
//!    synced. A sync alone would not do: after a failed one the page cache may call clean what the disk never got. It may
//!    also let go of that at any moment, so each batch is verified once more before it is written; if it is gone, it was
//!    never on the disk, and what is there is examined again. Nothing has been cut by then.
//! 2. [`quarantine`]: what is to be cut off is copied and synced, under a name that says where it came from.
//! 3. [`cut`]: only then is the file cut.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::reader::{self, Reader, Step};
use super::scan::Scan;
use crate::directory;
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::vfs::{self, Access, File, Vfs};

/// How much is copied at once.
const CHUNK: usize = 64 << 10;

/// The directory for what recovery cuts off, beside the log.
pub const QUARANTINE: &str = "quarantine";

/// Copies `from..to` of a file into the quarantine directory of `dir`, durably. `lsn`, the record that should have
/// begun at `from`, becomes a part of its name. Zeros are left as holes. If the same bytes are there already, from a
/// recovery that was interrupted, they only get their name anew: for a name that is there a sync proves nothing.
pub fn quarantine(vfs: &dyn Vfs, dir: &Path, source: &Source<'_>, from: u64, to: u64, lsn: Lsn) -> Result<()> {
    let quarantine = quarantine_dir(vfs, dir)?;
    let stem = format!("{}-lsn-{lsn}-offset-{from}", source.name());
    let unfinished = quarantine.join(format!("{stem}.tmp"));
    let rename = |from: &Path, to: &Path| vfs.rename(from, to).map_err(|cause| Error::file("rename", from, &cause));
    let (target, is_copied) = find_name(vfs, &quarantine, &stem, |path| same_bytes(vfs, path, source, from, to))?;
    if is_copied {
        rename(&target, &unfinished)?;
    } else {
        let copy = vfs.open(&unfinished, Access::Create).map_err(|cause| Error::file("create", &unfinished, &cause))?;
        copy_bytes(&*copy, &unfinished, source, from, to)?;
    }
    rename(&unfinished, &target)?;
    directory::sync(vfs, &quarantine)
}

/// A file to be repaired.
pub struct Source<'a> {
    /// The open file.
    pub file: &'a dyn File,
    /// Its path.
    pub path: &'a Path,
}

impl Source<'_> {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Cuts a log off at `end`, durably. What is behind it has been saved, or is zeros.
pub fn cut(source: &Source<'_>, end: u64) -> Result<()> {
    let cut = source.file.set_len(end).and_then(|()| source.file.sync_data());
    cut.map_err(|cause| Error::file("truncate", source.path, &cause))
}

/// Makes the records of a log behind `durable_lsn` durable again; returns how many bytes that took. `None` if the log does not
/// hold any more what was scanned: the page cache had it, and has let go of it. Then it is to be scanned again.
pub fn prove(source: &Source<'_>, scan: &Scan, durable_lsn: Lsn) -> Result<Option<u64>> {
    if scan.last_lsn <= durable_lsn || scan.records == 0 {
        return Ok(Some(0));
    }
    let (offset, mut lsn) = scan.mark_before(durable_lsn + 1);
    let mut reader = Reader::at(source.file, source.path, offset)?;
    let mut again = Rewrite { source, at: offset, bytes: Vec::new(), written: 0 };
    while reader.offset() < scan.end {
        let at = reader.offset();
        let Step::Batch(records) = reader.next(lsn)? else { return Ok(None) };
        let bytes = records.bytes();
        lsn += records.count() as Lsn;
        if lsn > durable_lsn + 1 {
            again.push(at, bytes)?;
        }
    }
    again.flush()?;
    source.file.sync_data().map_err(|cause| Error::file("fdatasync", source.path, &cause))?;
    Ok(Some(again.written))
}

/// Records on their way back to where they came from.
struct Rewrite<'s> {
    source: &'s Source<'s>,
    /// Where the first of them belongs.
    at: u64,
    bytes: Vec<u8>,
    written: u64,
}

impl Rewrite<'_> {
    fn push(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        if self.bytes.is_empty() {
            self.at = at;
        }
        self.bytes.try_reserve(bytes.len()).map_err(|_| Error::no_memory(bytes.len()))?;
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        vfs::write_all_at(self.source.file, &mut [IoSlice::new(&self.bytes)], self.at)
            .map_err(|cause| Error::file("rewrite", self.source.path, &cause))?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

fn quarantine_dir(vfs: &dyn Vfs, dir: &Path) -> Result<PathBuf> {
    let quarantine = dir.join(QUARANTINE);
    // If it is empty it is made anew, for making its name durable may have failed. Nothing is put into it before that
    // has succeeded.
    let _ = vfs.remove_dir(&quarantine);
    match vfs.create_dir(&quarantine) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(Error::file("mkdir", &quarantine, &cause)),
    }
    // Also if it existed: the crash may have come before it was synced.
    directory::sync(vfs, dir)?;
    Ok(quarantine)
}

/// `stem`, or `stem.2`, `stem.3`, … : the first of them that is free or taken by the `same` file, and whether it is taken.
fn find_name(vfs: &dyn Vfs, dir: &Path, stem: &str, same: impl Fn(&Path) -> Result<bool>) -> Result<(PathBuf, bool)> {
    for number in 1u64.. {
        let name = if number == 1 { stem.to_owned() } else { format!("{stem}.{number}") };
        let path = dir.join(&name);
        if !vfs.exists(&path).map_err(|cause| Error::file("look up", &path, &cause))? {
            return Ok((path, false));
        }
        if same(&path)? {
            return Ok((path, true));
        }
    }
    unreachable!("there are more numbers than files")
}

fn same_bytes(vfs: &dyn Vfs, path: &Path, source: &Source<'_>, from: u64, to: u64) -> Result<bool> {
    let file = vfs.open(path, Access::Write).map_err(|cause| Error::file("open", path, &cause))?;
    if file.size().map_err(|cause| Error::file("stat", path, &cause))? != to - from {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (reader::buffer(CHUNK)?, reader::buffer(CHUNK)?);
    let mut at = from;
    while at < to {
        let want = CHUNK.min((to - at) as usize);
        read_exact(source, &mut ours[..want], at)?;
        let got = reader::read(&*file, path, &mut theirs[..want], at - from)?;
        if got < want || ours[..want] != theirs[..want] {
            return Ok(false);
        }
        at += want as u64;
    }
    // It may be the page cache that we compared with.
    file.sync_all().map_err(|cause| Error::file("fsync", path, &cause))?;
    Ok(true)
}

/// Makes a file a copy of `from..to` of another one, durably; zeros are left as holes.
pub fn copy_bytes(to_file: &dyn File, to_path: &Path, source: &Source<'_>, from: u64, to: u64) -> Result<()> {
    // What an interrupted copy left is overwritten.
    to_file.set_len(0).map_err(|cause| Error::file("truncate", to_path, &cause))?;
    let mut chunk = reader::buffer(CHUNK)?;
    let mut at = from;
    while at < to {
        let want = CHUNK.min((to - at) as usize);
        read_exact(source, &mut chunk[..want], at)?;
        if chunk[..want].iter().any(|&byte| byte != 0) {
            vfs::write_all_at(to_file, &mut [IoSlice::new(&chunk[..want])], at - from)
                .map_err(|cause| Error::file("write", to_path, &cause))?;
        }
        at += want as u64;
    }
    to_file.set_len(to - from).map_err(|cause| Error::file("extend", to_path, &cause))?;
    to_file.sync_all().map_err(|cause| Error::file("fsync", to_path, &cause))
}

fn read_exact(source: &Source<'_>, buf: &mut [u8], at: u64) -> Result<()> {
    match reader::read(source.file, source.path, buf, at)? {
        got if got == buf.len() => Ok(()),
        _ => Err(Error::corrupt(format!("{} became shorter while it was being repaired", source.path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::vfs::sim::{Call, Fault, SimDisk};

    const DIR: &str = "/store";
    const LOG: &str = "/store/wal.log";

    fn disk_with(log: &[u8]) -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new(DIR)).unwrap();
        drop(disk.open(Path::new(LOG), Access::Create).unwrap());
        disk.overwrite(LOG, log);
        disk
    }

    fn quarantine_log(disk: &SimDisk, from: usize, to: usize) -> Result<()> {
        let file = disk.open(Path::new(LOG), Access::Write).unwrap();
        let source = Source { file: &*file, path: Path::new(LOG) };
        quarantine(disk, Path::new(DIR), &source, from as u64, to as u64, 7)
    }

    /// What is in quarantine.
    fn saved(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
        let files = disk.all_files().into_iter();
        let name = |path: PathBuf| Some(path.strip_prefix("/store/quarantine").ok()?.display().to_string());
        files.filter_map(|(path, bytes)| Some((name(path)?, bytes))).collect()
    }

    #[test]
    fn the_same_bytes_are_saved_once_and_others_beside_them() {
        for len in [1, 100, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let log: Vec<u8> = (0..len + 10).map(|at| (at * 7 % 251) as u8).collect();
            let disk = disk_with(&log);
            let first = ("wal.log-lsn-7-offset-10".to_owned(), log[10..].to_vec());
            for _ in 0..2 {
                quarantine_log(&disk, 10, log.len()).unwrap();
                assert!(saved(&disk) == [first.clone()], "{len} bytes");
            }
            // Other bytes from the same place: another first one, another last one, and one more.
            let mut expected = vec![first];
            let mut changed = log.clone();
            for (number, at) in (2u8..).zip([10, log.len() - 1]) {
                changed[at] = changed[at].wrapping_add(number);
                disk.overwrite(LOG, &changed);
                expected.push((format!("wal.log-lsn-7-offset-10.{number}"), changed[10..].to_vec()));
                for _ in 0..2 {
                    quarantine_log(&disk, 10, log.len()).unwrap();
                    assert!(saved(&disk) == expected, "{len} bytes");
                }
            }
            changed.push(1);
            disk.overwrite(LOG, &changed);
            quarantine_log(&disk, 10, changed.len()).unwrap();
            expected.push(("wal.log-lsn-7-offset-10.4".to_owned(), changed[10..].to_vec()));
            assert!(saved(&disk) == expected, "{len} bytes and one");
        }
    }

    #[test]
    fn what_an_interrupted_copy_left_is_overwritten_and_zeros_are_kept() {
        let log = [vec![1; CHUNK], vec![0; 2 * CHUNK], vec![2; 5], vec![0; CHUNK]].concat();
        let disk = disk_with(&log);
        quarantine_log(&disk, 0, 1).unwrap();
        let unfinished = Path::new("/store/quarantine/wal.log-lsn-7-offset-3.tmp");
        drop(disk.open(unfinished, Access::Create).unwrap());
        disk.overwrite(unfinished, &vec![9; 2 * log.len()]);
        quarantine_log(&disk, 3, log.len()).unwrap();
        let expected = ("wal.log-lsn-7-offset-3".to_owned(), log[3..].to_vec());
        assert!(saved(&disk)[1..] == [expected]);
    }

    #[test]
    fn a_log_that_became_shorter_and_a_directory_that_cannot_be_made_are_errors() {
        let disk = disk_with(&[1; 100]);
        assert_eq!(quarantine_log(&disk, 10, 101).unwrap_err().kind(), ErrorKind::Corrupt);
        disk.fail(Fault { call: Some(Call::CreateDir), after: 0, times: 1, errno: libc::ENOSPC, short_first: false });
        assert_eq!(quarantine_log(&disk, 10, 100).unwrap_err().kind(), ErrorKind::NoSpace);
    }
}
