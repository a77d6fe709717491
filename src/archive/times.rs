//! When which record was durable, as an archive keeps it.
//!
//! # The files
//!
//! Files of entries that are 20 bytes long: the CRC-32 of the 16 that follow, a time in Unix milliseconds, and the LSN of the last
//! durable record, all big-endian. An entry says that at this time all records up to that one were durable. They are only ever
//! appended. One that a crash has torn, or that was never written, does not match its checksum and is passed over; since all are
//! of one length, those behind it are found all the same. When the clock shows another day (UTC) than before, the next file is
//! begun. Files are numbered, so that their order is that of writing, whatever the clock does.
//!
//! # Which record belongs to a time
//!
//! The last entry before the first one that is later: its records were durable by then. Records that were written after the time
//! have greater LSNs, so nothing is included that came after it. What became durable after that entry and before that time is
//! left out, which is why entries are written as often as they are: that is the precision.
//!
//! Times are those of the system's clock. If that was set back, a time may have passed more than once, and the last entry of all
//! that is not later is another one. Then nobody knows which passing is meant, and both LSNs are named in an error.
//!
//! After damage, a store may go on with fewer records than there had been, and give their LSNs to others. Then an entry with a
//! lesser LSN follows one with a greater one, and of what was before only the records up to the lesser one are still those of
//! then. So it is the least LSN of that entry and all behind it that counts.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Lsn;
use crate::vfs::{self, Access, File, Vfs};
use crate::wal::reader;

/// Bytes of an entry.
const ENTRY_LEN: usize = 20;
/// So many are read at once.
const ENTRIES_AT_ONCE: usize = 4096;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// The files of an archive that is in use.
pub struct Times {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    today: Option<Day>,
}

struct Day {
    /// Counted from the first of 1970.
    day: u64,
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
        let day = time_ms / DAY;
        if self.today.as_ref().is_none_or(|today| today.day != day) {
            self.sync()?;
            self.today = Some(self.open(day)?);
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

    /// Goes on with the last file, if that is the day's, or begins the next one.
    fn open(&self, day: u64) -> Result<Day> {
        let last = list(&*self.vfs, &self.dir)?.pop();
        let name = match last {
            Some((_, name)) if name.ends_with(&of_day(day)) => name,
            Some((number, _)) => format!("times-{:06}{}", number + 1, of_day(day)),
            None => format!("times-{:06}{}", 1, of_day(day)),
        };
        let path = self.dir.join(name);
        let file = self.vfs.open(&path, Access::Create).map_err(|cause| Error::file("create", &path, &cause))?;
        let len = file.size().map_err(|cause| Error::file("stat", &path, &cause))?;
        directory::sync(&*self.vfs, &self.dir)?;
        Ok(Day { day, file, path, end: len.next_multiple_of(ENTRY_LEN as u64) })
    }
}

/// What the name of a file ends with that has the entries of a day.
fn of_day(day: u64) -> String {
    let (year, month, day) = date(day);
    format!("-{year:04}-{month:02}-{day:02}.log")
}

/// The files, with their numbers, in order.
fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<(u64, String)>> {
    let names = vfs.list(dir).map_err(|cause| Error::file("list", dir, &cause))?;
    let mut files: Vec<_> = names.iter().filter_map(|name| name.to_str()).filter_map(parse).collect();
    files.sort_unstable();
    Ok(files)
}

fn parse(name: &str) -> Option<(u64, String)> {
    let (number, date) = name.strip_prefix("times-")?.strip_suffix(".log")?.split_once('-')?;
    let is_date = date.len() >= 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let number = number.parse().ok().filter(|_| is_date)?;
    Some((number, name.to_owned()))
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

/// What the archive in `dir` says of a time: the entry that belongs to it, with the LSN up to which a store is to be restored. `None`
/// if there is no such entry.
pub fn look_up(vfs: &dyn Vfs, dir: &Path, time_ms: u64) -> Result<Option<Moment>> {
    let (mut first, mut last) = (None::<Moment>, None::<Moment>);
    let mut has_passed = false;
    read(vfs, dir, |moment| {
        for found in [&mut first, &mut last].into_iter().flatten() {
            found.lsn = found.lsn.min(moment.lsn);
        }
        has_passed |= moment.time_ms > time_ms;
        if moment.time_ms <= time_ms {
            last = Some(moment);
            if !has_passed {
                first = last;
            }
        }
    })?;
    match (first, last) {
        (first, Some(last)) if first.map(|first| first.lsn) != Some(last.lsn) => {
            let first = first.map_or("none was".to_owned(), |first| format!("LSN {} was", first.lsn));
            let message = format!(
                "by {} the clock was set back, and showed that time more than once: the last durable record {first} at first, and \
                 LSN {} later; say which LSN is meant",
                dir.display(),
                last.lsn
            );
            Err(Error::new(ErrorKind::Invalid, message))
        }
        (first, _) => Ok(first),
    }
}

/// The last entry: all records up to its LSN are durable, also in the files of a store that is open.
pub fn last(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Moment>> {
    for (_, name) in list(vfs, dir)?.into_iter().rev() {
        let mut last = None;
        read_file(vfs, &dir.join(name), &mut |moment| last = Some(moment))?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Calls `visit` with all entries, in the order of writing.
fn read(vfs: &dyn Vfs, dir: &Path, mut visit: impl FnMut(Moment)) -> Result<()> {
    list(vfs, dir)?.into_iter().try_for_each(|(_, name)| read_file(vfs, &dir.join(name), &mut visit))
}

/// Calls `visit` with the entries of one file.
fn read_file(vfs: &dyn Vfs, path: &Path, visit: &mut impl FnMut(Moment)) -> Result<()> {
    let file = vfs.open(path, Access::Read).map_err(|cause| Error::file("open", path, &cause))?;
    let mut bytes = reader::buffer(ENTRIES_AT_ONCE * ENTRY_LEN)?;
    let mut at = 0;
    loop {
        let got = reader::read(&*file, path, &mut bytes, at)?;
        bytes[..got].chunks_exact(ENTRY_LEN).filter_map(Moment::decode).for_each(&mut *visit);
        at += got as u64;
        if got < bytes.len() {
            return Ok(());
        }
    }
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
            assert_eq!(of_day(day), format!("-{expected}.log"), "day {day}");
            let name = format!("times-000012{}", of_day(day));
            assert_eq!(parse(&name), Some((12, name.clone())));
        }
        for other in
            ["times-.log", "times-1-today.log", "wal-1-2.log", "times-000001-2026-11-26.tmp", "times-x-2026-11-26.log"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
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
    fn a_time_that_came_twice_is_told_of_unless_it_makes_no_difference() {
        let refused = |disk: &SimDisk, time_ms| look_up(disk, Path::new(DIR), time_ms).unwrap_err().to_string();
        // For a while a year ahead, and then right again.
        let disk = disk();
        drop(noted(&disk, &[(NOON, 1), (NOON + 365 * DAY, 2)]));
        drop(noted(&disk, &[(NOON + 100, 3), (NOON + 200, 4)]));
        assert_eq!(
            list(&disk, Path::new(DIR)).unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!((lsn_at(&disk, NOON - 1), lsn_at(&disk, NOON + 366 * DAY)), (None, Some(4)));
        assert!(refused(&disk, NOON + 100).ends_with("LSN 1 was at first, and LSN 3 later; say which LSN is meant"));
        // For a while an hour behind.
        let disk = self::disk();
        drop(noted(&disk, &[(NOON, 1), (NOON + 500, 2), (NOON - 3_600_000, 3), (NOON + 600, 4)]));
        assert!(refused(&disk, NOON + 100).contains("LSN 1 was at first, and LSN 3 later"));
        assert!(refused(&disk, NOON - 1).contains("none was at first, and LSN 3 later"));
        assert_eq!([550, 600].map(|after| lsn_at(&disk, NOON + after).unwrap()), [3, 4]);
        // While nothing was written.
        let disk = self::disk();
        drop(noted(&disk, &[(NOON, 1), (NOON + 500, 1), (NOON + 100, 1), (NOON + 600, 2)]));
        assert_eq!(lsn_at(&disk, NOON + 300), Some(1));
    }

    #[test]
    fn entries_that_are_torn_or_were_never_written_are_passed_over() {
        let entry = |time_ms, lsn| Moment { time_ms, lsn }.encode().to_vec();
        let path = Path::new(DIR).join(format!("times-000001{}", of_day(NOON / DAY)));
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
