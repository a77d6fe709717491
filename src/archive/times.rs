//! When which record was durable, as an archive keeps it.
//!
//! # The file
//!
//! A file for each day (UTC), of entries that are 20 bytes long: the CRC-32 of the 16 that follow, a time in Unix milliseconds, and
//! the LSN of the last durable record, all big-endian. An entry says that at this time all records up to that one were durable.
//! They are only ever appended. One that a crash has torn, or that was never written, does not match its checksum and is passed
//! over; since all are of one length, those behind it are found all the same.
//!
//! # Which record belongs to a time
//!
//! The last entry, in the order of writing, whose time is not later: its records were durable by then. Records that were written
//! later have greater LSNs, so nothing is included that came after that time. What became durable after that entry and before
//! that time is left out, which is why entries are written as often as they are: that is the precision.
//!
//! After damage, a store may go on with fewer records than there had been, and give their LSNs to others. Then an entry with a
//! lesser LSN follows one with a greater one, and of what was before only the records up to the lesser one are still those of
//! then. So it is the least LSN of that entry and all behind it that counts.
//!
//! Times are those of the system's clock. If that was set back, a time that came twice is taken for the later one.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory;
use crate::error::{Error, Result};
use crate::format::Lsn;
use crate::vfs::{self, Access, File, Vfs};
use crate::wal::reader;

/// Bytes of an entry.
const ENTRY_LEN: usize = 20;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// The files of an archive that is in use.
pub struct Times {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    today: Option<Day>,
}

struct Day {
    number: u64,
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the next entry goes.
    end: u64,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// All records up to this one were durable then.
    pub lsn: Lsn,
}

impl Moment {
    fn encode(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[4..12].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes[12..].copy_from_slice(&self.lsn.to_be_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Moment> {
        let (crc, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let lsn = rest.first_chunk()?;
        let is_whole = u32::from_be_bytes(*crc) == crc32fast::hash(&bytes[4..ENTRY_LEN]);
        is_whole.then(|| Moment { time_ms: u64::from_be_bytes(*time), lsn: u64::from_be_bytes(*lsn) })
    }
}

impl Times {
    /// Those in `dir`.
    pub fn new(vfs: Arc<dyn Vfs>, dir: &Path) -> Times {
        Times { vfs, dir: dir.to_owned(), today: None }
    }

    /// Adds an entry, which is durable after the next [`sync`](Self::sync).
    pub fn note(&mut self, time_ms: u64, lsn: Lsn) -> Result<()> {
        let number = time_ms / DAY;
        if self.today.as_ref().is_none_or(|today| today.number != number) {
            self.sync()?;
            self.today = Some(self.open(number)?);
        }
        let Some(today) = &mut self.today else { unreachable!("opened above") };
        let entry = Moment { time_ms, lsn }.encode();
        // If it fails half-way, the next one goes to the same place.
        vfs::write_all_at(&*today.file, &mut [IoSlice::new(&entry)], today.end)
            .map_err(|cause| Error::file("write", &today.path, &cause))?;
        today.end += ENTRY_LEN as u64;
        Ok(())
    }

    /// Makes the entries durable. Those that a sync has failed for may be lost in a crash: then the time before is less precise.
    pub fn sync(&mut self) -> Result<()> {
        let Some(today) = &self.today else { return Ok(()) };
        today.file.sync_data().map_err(|cause| Error::file("fdatasync", &today.path, &cause))
    }

    fn open(&self, number: u64) -> Result<Day> {
        let path = self.dir.join(name(number));
        let file = self.vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        let len = file.size().map_err(|cause| Error::file("stat", &path, &cause))?;
        directory::sync(&*self.vfs, &self.dir)?;
        Ok(Day { number, file, path, end: len.next_multiple_of(ENTRY_LEN as u64) })
    }
}

/// The name of the file of a day, counted from the first of 1970.
fn name(day: u64) -> String {
    let (year, month, day) = date(day);
    format!("times-{year:04}-{month:02}-{day:02}.log")
}

/// Year, month and day. Years begin in March here, so that the day that some have more is their last; 400 years always have the
/// same number of days. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
fn date(day: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From the first of March of the year 0.
    let day = day + 719_468;
    let (era, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carried) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carried, month, day)
}

/// What the archive in `dir` says of a time: the last entry that is not later, with the LSN up to which a store is to be restored.
/// `None` if there is no such entry.
pub fn look_up(vfs: &dyn Vfs, dir: &Path, time_ms: u64) -> Result<Option<Moment>> {
    let mut found: Option<Moment> = None;
    for moment in read(vfs, dir)? {
        if moment.time_ms <= time_ms {
            found = Some(moment);
        } else if let Some(found) = &mut found {
            found.lsn = found.lsn.min(moment.lsn);
        }
    }
    Ok(found)
}

/// The last entry: all records up to its LSN are durable, also in the files of a store that is open.
pub fn last(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Moment>> {
    Ok(read(vfs, dir)?.pop())
}

/// All entries, in the order of writing.
fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<Moment>> {
    let names = vfs.list(dir).map_err(|cause| Error::file("list", dir, &cause))?;
    let mut names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).filter(|name| is_name(name)).collect();
    names.sort_unstable();
    let mut moments = Vec::new();
    for name in names {
        let path = dir.join(name);
        let file = vfs.open(&path, Access::Read).map_err(|cause| Error::file("open", &path, &cause))?;
        let len = file.size().map_err(|cause| Error::file("stat", &path, &cause))?;
        let mut bytes = reader::buffer(usize::try_from(len).unwrap_or(usize::MAX))?;
        let got = reader::read(&*file, &path, &mut bytes, 0)?;
        moments.extend(bytes[..got].chunks_exact(ENTRY_LEN).filter_map(Moment::decode));
    }
    Ok(moments)
}

fn is_name(name: &str) -> bool {
    let day = name.strip_prefix("times-").and_then(|name| name.strip_suffix(".log"));
    day.is_some_and(|day| day.len() >= 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::SimDisk;

    const DIR: &str = "/archive";
    const NOON: u64 = 1_800_000_000_000 / DAY * DAY + DAY / 2;

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new(DIR)).unwrap();
        disk
    }

    fn noted(disk: &SimDisk, moments: &[(u64, Lsn)]) -> Times {
        let mut times = Times::new(Arc::new(disk.clone()), Path::new(DIR));
        moments.iter().for_each(|&(time_ms, lsn)| times.note(time_ms, lsn).unwrap());
        times
    }

    fn lsn_at(disk: &SimDisk, time_ms: u64) -> Option<Lsn> {
        look_up(disk, Path::new(DIR), time_ms).unwrap().map(|moment| moment.lsn)
    }

    #[test]
    fn days_have_the_names_that_the_calendar_gives_them() {
        let days =
            [(0, "1970-01-01"), (58, "1970-02-28"), (59, "1970-03-01"), (364, "1970-12-31"), (365, "1971-01-01")];
        let leaps = [(11_016, "2000-02-29"), (11_017, "2000-03-01"), (19_782, "2024-02-29"), (47_540, "2100-02-28")];
        let later = [(47_541, "2100-03-01"), (20_783, "2026-11-26"), (11_322, "2000-12-31"), (2_932_896, "9999-12-31")];
        for (day, expected) in [&days[..], &leaps, &later].concat() {
            assert_eq!(name(day), format!("times-{expected}.log"), "day {day}");
            assert!(is_name(&name(day)));
        }
        assert!(
            ["times-.log", "times-today.log", "wal-1-2.log", "times-2026-11-26.tmp"].iter().all(|name| !is_name(name))
        );
    }

    #[test]
    fn a_time_belongs_to_the_last_entry_that_is_not_later() {
        let disk = disk();
        assert_eq!(lsn_at(&disk, NOON), None);
        drop(noted(&disk, &[(NOON, 3), (NOON + 100, 5), (NOON + DAY, 9), (NOON + 2 * DAY, 20)]));
        drop(noted(&disk, &[(NOON + 2 * DAY + 50, 21)]));
        let expected = [(99, Some(3)), (100, Some(5)), (DAY - 1, Some(5)), (DAY, Some(9)), (3 * DAY, Some(21))];
        assert_eq!(lsn_at(&disk, NOON - 1), None);
        for (after, lsn) in expected {
            assert_eq!(lsn_at(&disk, NOON + after), lsn, "{after} ms later");
        }
    }

    #[test]
    fn a_history_that_was_cut_off_counts_up_to_where_it_was() {
        let disk = disk();
        drop(noted(&disk, &[(NOON, 300), (NOON + 100, 500), (NOON + 200, 310), (NOON + 300, 600)]));
        let at = [0, 150, 250, 350].map(|after| lsn_at(&disk, NOON + after).unwrap());
        assert_eq!(at, [300, 310, 310, 600]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_the_later_passing_count() {
        let disk = disk();
        drop(noted(&disk, &[(NOON, 1), (NOON + 500, 2), (NOON + 100, 3), (NOON + 600, 4)]));
        assert_eq!([100, 550].map(|after| lsn_at(&disk, NOON + after).unwrap()), [3, 3]);
    }

    #[test]
    fn entries_that_are_torn_or_were_never_written_are_passed_over() {
        let entry = |time_ms, lsn| Moment { time_ms, lsn }.encode().to_vec();
        let path = Path::new(DIR).join(name(NOON / DAY));
        for bad in [vec![0; ENTRY_LEN], entry(NOON, 7)[..ENTRY_LEN - 1].to_vec(), vec![255; 2 * ENTRY_LEN + 1]] {
            let disk = disk();
            drop(disk.open(&path, Access::Create).unwrap());
            disk.overwrite(&path, &[entry(NOON, 3), bad].concat());
            drop(noted(&disk, &[(NOON + 10, 4)]));
            assert_eq!((lsn_at(&disk, NOON + 5), lsn_at(&disk, NOON + 10)), (Some(3), Some(4)));
        }
        // Every bit counts.
        for bit in 0..ENTRY_LEN * 8 {
            let mut entry = entry(NOON, 3);
            entry[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Moment::decode(&entry), None);
        }
    }

    #[test]
    fn what_was_synced_survives_a_crash() {
        for seed in 0..20 {
            let disk = disk();
            disk.sync_dir(Path::new("/")).unwrap();
            let mut times = noted(&disk, &[(NOON, 1), (NOON + 1, 2)]);
            times.sync().unwrap();
            times.note(NOON + DAY, 3).unwrap();
            disk.crash(seed);
            assert!(lsn_at(&disk, NOON + 2 * DAY).unwrap() >= 2, "seed {seed}");
        }
    }
}
