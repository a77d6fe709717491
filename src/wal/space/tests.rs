//! The filler beside a writer: at each of its calls in turn the power fails, or the call does.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::format::{Op, Record};
use crate::sys::thread::Thread;
use crate::vfs::sim::{Call, Fault, SimDisk};
use crate::vfs::{Access, Vfs};
use crate::wal::scan;
use crate::wal::writer::{Position, Writer};

const PATH: &str = "/wal.log";
const AHEAD: u64 = 4 * PIECE;

struct Log {
    writer: Writer,
    space: Arc<Space>,
    latch: Arc<Latch>,
}

impl Log {
    fn new(disk: &SimDisk) -> io::Result<Log> {
        let path = Path::new(PATH);
        let (file, again) = (disk.open(path, Access::Create)?, disk.open(path, Access::Write)?);
        file.sync_all()?;
        disk.sync_dir(Path::new("/"))?;
        let latch = Arc::new(Latch::default());
        let space = Arc::new(Space::with_filler(0, AHEAD, again, path.to_owned(), Arc::new(Bell::new()?)));
        let writer = Writer::new(file, path.to_owned(), Position::default(), Arc::clone(&space), Arc::clone(&latch));
        Ok(Log { writer, space, latch })
    }

    fn append(&mut self, len: usize) -> Result<()> {
        let value = vec![0xaa; len];
        let record =
            Record { lsn: 0, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"key", value: &value };
        self.writer.append([record], true)
    }

    fn last_lsn(&self) -> u64 {
        self.writer.position().last_lsn
    }

    /// Records that use the space up again and again, the filler coming at various moments, and a close. Returns how
    /// many records were acknowledged, whatever else failed.
    fn run(disk: &SimDisk) -> u64 {
        let Ok(mut log) = Log::new(disk) else { return 0 };
        for number in 0..24 {
            let len = [100, 20_000, 7_000, 60_000][number % 4];
            if log.append(len).is_err_and(|error| error.kind() == ErrorKind::Failed) {
                break;
            }
            if number % 3 != 1 {
                let _ = log.space.fill(&log.latch);
            }
        }
        let last = log.last_lsn();
        let _ = log.writer.trim();
        let _ = log.space.fill(&log.latch);
        last
    }
}

/// What a reader finds: the last record, and that there are only zeros behind it or what a crash left.
fn recovered(disk: &SimDisk, torn: bool, context: &str) -> u64 {
    let Ok(file) = disk.open(Path::new(PATH), Access::Read) else { return 0 };
    let scan = scan::scan(&*file, Path::new(PATH), 1, |record| {
        assert!(record.value.iter().all(|&byte| byte == 0xaa), "{context}");
        Ok(true)
    });
    let scan = scan.unwrap();
    assert!(torn || scan.bad.is_none(), "{context}: {:?}", scan.bad);
    scan.last_lsn
}

#[test]
fn zeros_are_ahead_and_given_back() {
    let disk = SimDisk::new(1);
    let mut log = Log::new(&disk).unwrap();
    let is_called = |log: &Log| log.space.filler.as_ref().unwrap().bell.wait(Some(Duration::ZERO));
    log.append(100).unwrap();
    assert!(is_called(&log));
    log.append(100).unwrap();
    assert!(!is_called(&log), "once is enough");
    log.space.fill(&log.latch).unwrap();
    let filled = log.space.filled();
    assert!(filled >= AHEAD && disk.contents(PATH).unwrap().len() as u64 == filled);
    let calls = disk.calls();
    log.append(1000).unwrap();
    assert_eq!(disk.calls(), calls + 2, "one write and one sync");
    assert_eq!(log.space.filled(), filled);
    assert!(!is_called(&log), "there is enough");
    log.append(AHEAD as usize / 2).unwrap();
    assert!(is_called(&log));
    log.writer.trim().unwrap();
    log.space.filler.as_ref().unwrap().wanted.swap(u64::MAX, Ordering::Relaxed);
    log.space.fill(&log.latch).unwrap();
    assert_eq!(disk.contents(PATH).unwrap().len() as u64, log.writer.position().end, "no zeros after the close");
}

#[test]
fn power_cut_at_every_call_beside_the_filler() {
    for call in 0.. {
        let disk = SimDisk::new(call);
        disk.power_off_at(call);
        let acknowledged = Log::run(&disk);
        if disk.calls() <= call {
            assert_eq!(acknowledged, 24);
            assert!(call > 60, "there were many calls: {call}");
            break;
        }
        for seed in 0..8 {
            let disk = disk.fork();
            disk.crash(seed);
            let context = format!("power cut at call {call}, seed {seed}");
            assert!(recovered(&disk, true, &context) >= acknowledged, "{context}");
        }
    }
}

#[test]
fn every_call_fails_beside_the_filler() {
    for (errno, times) in [(libc::ENOSPC, 1), (libc::ENOSPC, u64::MAX), (libc::EIO, 1), (libc::EIO, u64::MAX)] {
        for short_first in [false, true] {
            for after in 0.. {
                let disk = SimDisk::new(after);
                disk.fail(Fault { call: None, after, times, errno, short_first });
                let acknowledged = Log::run(&disk);
                if !disk.heal() {
                    break;
                }
                let context = format!("call {after} failed with {errno}, {times} times, {short_first}");
                assert!(recovered(&disk, true, &context) >= acknowledged, "{context}");
                disk.crash(after);
                assert!(recovered(&disk, true, &context) >= acknowledged, "{context}; then a power cut");
            }
        }
    }
}

#[test]
fn a_failed_sync_of_the_filler_is_final() {
    let disk = SimDisk::new(1);
    let mut log = Log::new(&disk).unwrap();
    log.append(100).unwrap();
    disk.fail(Fault { call: Some(Call::Sync), after: 0, times: 1, errno: libc::EIO, short_first: false });
    assert_eq!(log.space.fill(&log.latch).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(log.append(100).unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
fn writers_go_on_without_a_filler_that_found_no_room_and_call_it_again_when_there_is() {
    let disk = SimDisk::new(1);
    let mut log = Log::new(&disk).unwrap();
    log.append(100).unwrap();
    disk.fail(Fault { call: Some(Call::Write), after: 0, times: 2, errno: libc::ENOSPC, short_first: false });
    assert_eq!(log.space.fill(&log.latch).unwrap_err().kind(), ErrorKind::NoSpace);
    // There is no room for the zeros that it carries, but for the record.
    log.append(100).unwrap();
    assert_eq!(log.space.filled(), log.writer.position().end);
    log.append(100).unwrap();
    assert_eq!(log.space.filled(), log.writer.position().end + AHEAD);
    assert_eq!(disk.contents(PATH).unwrap().len() as u64, log.space.filled());
    while log.space.filled() > log.writer.position().end + AHEAD / 2 {
        log.append(1000).unwrap();
    }
    log.space.fill(&log.latch).unwrap();
    assert!(log.space.filled() >= log.writer.position().end + AHEAD / 2);
}

#[test]
fn what_was_cut_off_is_no_longer_filled_and_what_was_stopped_never_will_be() {
    let disk = SimDisk::new(1);
    let mut log = Log::new(&disk).unwrap();
    log.append(100).unwrap();
    log.space.fill(&log.latch).unwrap();
    disk.fail(Fault { call: Some(Call::Write), after: 0, times: 2, errno: libc::ENOSPC, short_first: true });
    assert_eq!(log.append(100).unwrap_err().kind(), ErrorKind::NoSpace);
    let end = log.writer.position().end;
    assert_eq!((log.space.filled(), disk.contents(PATH).unwrap().len() as u64), (end, end));
    // Now it is wanted again, but the log is about to be retired.
    log.append(100).unwrap();
    let filled = log.space.filled();
    log.writer.close_space();
    log.space.fill(&log.latch).unwrap();
    assert_eq!(log.space.filled(), filled);
}

#[test]
fn no_zero_ever_overwrites_a_record() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut log = Log::new(&disk).unwrap();
        let running = Arc::new(AtomicUsize::new(1));
        let (space, latch, is_running) = (Arc::clone(&log.space), Arc::clone(&log.latch), Arc::clone(&running));
        let filler = Thread::start(c"filler", move || {
            while is_running.load(Ordering::Relaxed) == 1 {
                let _ = space.fill(&latch);
            }
        });
        for number in 0..150 {
            if number % 7 == seed as usize % 7 {
                // Perhaps it strikes the filler, perhaps the writer, which then rolls back.
                let fault =
                    Fault { call: Some(Call::Write), after: 1, times: 2, errno: libc::ENOSPC, short_first: true };
                disk.fail(fault);
            }
            let _ = log.append(number * 97 % 5000);
            disk.heal();
        }
        let last = log.last_lsn();
        log.writer.trim().unwrap();
        running.swap(0, Ordering::Relaxed);
        assert!(filler.unwrap().join());
        assert!(last > 50);
        assert_eq!(recovered(&disk, false, &format!("seed {seed}")), last);
        assert_eq!(disk.contents(PATH).unwrap().len() as u64, log.writer.position().end);
    }
}
