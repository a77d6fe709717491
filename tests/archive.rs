//! Archives, and what is restored from them: the store as of any record and at any time, whatever failed on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::opening::put_file;
use crate::support::{self, Contents, DIR, contents};
use kvwal::vfs::sim::{Call, Fault, SimDisk};
use kvwal::vfs::{Access, Vfs};
use kvwal::{Batch, ErrorKind, Options, Restored, Size, Sources, Store, SyncMode, Until, Verdict, restore_on};

const ARCHIVE: &str = "/archive";
const BACKUP: &str = "/backup";
const DEST: &str = "/restored";

fn options() -> Options {
    Options { archive_dir: Some(PathBuf::from(ARCHIVE)), ..support::options() }
}

fn open(disk: &SimDisk) -> Store {
    Store::open_on(Arc::new(disk.clone()), DIR, &options()).unwrap()
}

fn sources(backup: Option<&str>, archive: Option<&str>, store: Option<&str>) -> Sources {
    let path = |path: Option<&str>| path.map(PathBuf::from);
    Sources { backup: path(backup), archive: path(archive), store: path(store) }
}

fn all() -> Sources {
    sources(None, Some(ARCHIVE), Some(DIR))
}

/// Restores on a copy of the disk, and opens what came of it.
fn restored(disk: &SimDisk, sources: &Sources, until: Until) -> Result<(Restored, Contents), kvwal::Error> {
    let disk = disk.fork();
    let restored = restore_on(Arc::new(disk.clone()), Path::new(DEST), sources, until)?;
    let store = Store::open_on(Arc::new(disk.clone()), DEST, &support::options())?;
    assert_eq!(store.recovery_report().verdict, Verdict::Clean);
    assert_eq!(store.stats().last_lsn, restored.last_lsn);
    let found = contents(&store);
    store.set(b"goes on", b"").unwrap();
    assert_eq!(store.stats().last_lsn, restored.last_lsn + 1);
    store.close().unwrap();
    Ok((restored, found))
}

/// What a store held after each of its changes.
#[derive(Clone, Default)]
struct History {
    states: Vec<(u64, Contents)>,
}

impl History {
    fn note(&mut self, store: &Store) {
        self.states.push((store.stats().last_lsn, contents(store)));
    }

    fn last_lsn(&self) -> u64 {
        self.states.last().map_or(0, |(lsn, _)| *lsn)
    }

    /// The last change that is not behind `lsn`.
    fn as_of(&self, lsn: u64) -> (u64, Contents) {
        self.states.iter().rfind(|(at, _)| *at <= lsn).cloned().unwrap_or_default()
    }

    fn set(&mut self, store: &Store, key: u8, len: usize) {
        store.set(&[key], &vec![self.states.len() as u8; len]).unwrap();
        self.note(store);
    }

    fn batch(&mut self, store: &Store, keys: std::ops::Range<u8>) {
        let mut batch = Batch::new();
        batch.del(&[keys.start]).unwrap();
        keys.for_each(|key| batch.set(&[key], &[self.states.len() as u8; 40]).unwrap());
        store.write(&batch).unwrap();
        self.note(store);
    }

    /// Every record can be restored from these.
    fn check_all(&self, disk: &SimDisk, sources: &Sources, context: &str) {
        for lsn in 0..=self.last_lsn() {
            let (expected_lsn, expected) = self.as_of(lsn);
            let (restored, found) = restored(disk, sources, Until::Lsn(lsn))
                .unwrap_or_else(|error| panic!("{context}: LSN {lsn}: {error}"));
            assert_eq!(restored.last_lsn, expected_lsn, "{context}: LSN {lsn}");
            assert_eq!(found, expected, "{context}: LSN {lsn}");
        }
    }
}

/// A store with a few checkpoints behind it, and a backup in between.
fn filled(disk: &SimDisk) -> (Store, History) {
    let (store, mut history) = (open(disk), History::default());
    history.set(&store, 1, 10);
    history.batch(&store, 2..6);
    history.set(&store, 1, 1500);
    store.checkpoint().unwrap();
    history.set(&store, 7, 0);
    store.checkpoint().unwrap();
    store.backup(BACKUP).unwrap();
    history.batch(&store, 4..9);
    store.close().unwrap();
    let store = open(disk);
    history.set(&store, 9, 300);
    store.checkpoint().unwrap();
    history.set(&store, 1, 20);
    history.batch(&store, 1..3);
    (store, history)
}

#[test]
fn every_record_can_be_restored() {
    let disk = SimDisk::new(1);
    let (store, history) = filled(&disk);
    // While the store is open its last record is not proven durable to others.
    let open = |dest: &str, sources| restore_on(Arc::new(disk.clone()), Path::new(dest), &sources, Until::End).unwrap();
    let alone = open("/alone", sources(None, None, Some(DIR)));
    assert_eq!(alone.last_lsn, history.states[history.states.len() - 2].0);
    // Unless the archive knows.
    wait_until_noted(&disk, history.last_lsn());
    assert_eq!(open("/beside", all()).last_lsn, history.last_lsn());
    store.close().unwrap();
    history.check_all(&disk, &all(), "archive and store");
    history.check_all(&disk, &sources(Some(BACKUP), Some(ARCHIVE), Some(DIR)), "with a backup");
    let (restored, found) = restored(&disk, &all(), Until::End).unwrap();
    assert_eq!((restored.last_lsn, found), history.as_of(u64::MAX));
}

#[test]
fn what_a_backup_and_what_a_checkpoint_spare_is_not_read() {
    let disk = SimDisk::new(2);
    let (store, history) = filled(&disk);
    let archived = store.stats().checkpoint_lsn;
    store.close().unwrap();
    let from_backup = sources(Some(BACKUP), Some(ARCHIVE), None);
    let (restored_to, found) = restored(&disk, &from_backup, Until::End).unwrap();
    assert_eq!((restored_to.last_lsn, found), history.as_of(archived));
    assert!(restored_to.checkpoint_lsn > 0 && restored_to.records == archived - restored_to.checkpoint_lsn);
    // Only what is behind the backup is needed.
    for (path, _) in disk.all_files() {
        if path.to_str().is_some_and(|path| path.starts_with("/archive/wal-00000000000000000001-")) {
            disk.remove(&path).unwrap();
        }
    }
    restored(&disk, &from_backup, Until::End).unwrap();
    // A backup alone is one, too, and so is a store.
    let (alone, _) = restored(&disk, &sources(Some(BACKUP), None, None), Until::End).unwrap();
    assert_eq!((alone.last_lsn, alone.records), (restored_to.checkpoint_lsn, 0));
    let (alone, found) = restored(&disk, &sources(None, None, Some(DIR)), Until::End).unwrap();
    assert_eq!((alone.last_lsn, found), history.as_of(u64::MAX));
}

#[test]
fn whatever_a_crash_interrupts_no_record_is_lost_and_none_is_there_twice() {
    for can_link in [true, false] {
        let disk = SimDisk::new(3);
        let (store, mut history) = (open(&disk), History::default());
        history.set(&store, 1, 600);
        store.checkpoint().unwrap();
        history.batch(&store, 2..5);
        if !can_link {
            disk.fail(refuse_links());
        }
        disk.keep_moments(1024, 4);
        store.checkpoint().unwrap();
        history.set(&store, 1, 10);
        store.checkpoint().unwrap();
        let moments = disk.take_moments();
        store.close().unwrap();
        for (number, moment) in moments.into_iter().enumerate() {
            for seed in 0..4 {
                let context = format!("links: {can_link}, moment {number}, seed {seed}");
                let disk = if seed == 3 { moment.killed(seed) } else { moment.crashed(seed) };
                let store = open(&disk);
                let found = store.stats().last_lsn;
                let mut history =
                    History { states: history.states.iter().filter(|(lsn, _)| *lsn <= found).cloned().collect() };
                assert_eq!((found, contents(&store)), history.as_of(found), "{context}");
                // What is kept twice, or goes on under a name that was kept, is sorted out.
                history.set(&store, 7, 50);
                store.checkpoint().unwrap_or_else(|error| panic!("{context}: {error}"));
                history.set(&store, 8, 50);
                store.close().unwrap();
                history.check_all(&disk, &all(), &context);
            }
        }
    }
}

fn refuse_links() -> Fault {
    Fault { call: Some(Call::Link), after: 0, times: u64::MAX, errno: libc::EXDEV, short_first: false }
}

#[test]
fn a_log_that_cannot_be_kept_fails_the_checkpoint_and_is_kept_by_a_later_one() {
    let prepared = SimDisk::new(5);
    let (store, mut history) = (open(&prepared), History::default());
    history.set(&store, 1, 600);
    store.checkpoint().unwrap();
    history.set(&store, 2, 10);
    store.close().unwrap();
    for crashes in [false, true] {
        fail_each_call_of_a_checkpoint(&prepared, &history, crashes);
    }
}

/// Whatever failed is made up for by the next checkpoint, by this store or, after a crash, by the one that recovers.
fn fail_each_call_of_a_checkpoint(prepared: &SimDisk, history: &History, crashes: bool) {
    let (mut failed, mut latched) = (0, 0);
    for after in 0.. {
        let (disk, mut history) = (prepared.fork(), history.clone());
        let mut store = open(&disk);
        history.set(&store, 3, 30);
        // Otherwise it may be the thread that keeps the time whose call fails.
        wait_until_noted(&disk, history.last_lsn());
        disk.fail(Fault { call: None, after, times: 1, errno: libc::ENOSPC, short_first: false });
        let made = store.checkpoint();
        let struck = disk.heal();
        assert_eq!(store.stats().checkpoints_failed, u64::from(made.is_err()), "call {after}");
        if store.set(&[4], b"more").is_err() {
            // The sync of a file or directory of the store's own.
            latched += 1;
            let _ = store.close();
            store = open(&disk);
            store.set(&[4], b"more").unwrap();
        }
        history.note(&store);
        failed += u64::from(made.is_err());
        if crashes {
            drop(store);
            disk.crash(after);
            store = open(&disk);
            history.set(&store, 6, 30);
        }
        store.checkpoint().unwrap_or_else(|error| panic!("call {after}: {error}"));
        history.set(&store, 5, 30);
        drop(store);
        disk.crash(after);
        history.check_all(&disk, &all(), &format!("call {after}"));
        if !struck {
            break;
        }
    }
    assert!(failed - latched > 10 && latched > 3, "{failed}, {latched} of them for ever");
}

#[test]
fn opening_does_not_cut_a_damaged_log_that_the_archive_has_too() {
    let disk = SimDisk::new(5);
    let (store, mut history) = (open(&disk), History::default());
    (0..3).for_each(|key| history.set(&store, key, 30));
    let len = store.stats().wal_bytes as usize;
    // It is kept, and not retired.
    disk.fail(Fault { call: Some(Call::Rename), after: 1, times: 1, errno: libc::EIO, short_first: false });
    store.checkpoint().unwrap_err();
    store.close().unwrap();
    let mut log = disk.contents("/store/wal.log").unwrap();
    log[len / 3 + 35] ^= 1;
    disk.overwrite("/store/wal.log", &log);
    for seed in 0..3 {
        let store = open(&disk);
        store.set(b"goes", b"on").unwrap();
        store.checkpoint().unwrap();
        store.close().unwrap();
        disk.crash(seed);
        let (_, found) = restored(&disk, &sources(None, Some(ARCHIVE), None), Until::Lsn(1)).unwrap();
        assert_eq!(found, history.as_of(1).1, "before the damage");
    }
}

#[test]
fn an_archive_on_another_file_system_gets_copies() {
    let disk = SimDisk::new(6);
    disk.fail(refuse_links());
    let (store, history) = filled(&disk);
    store.close().unwrap();
    assert!(disk.heal());
    history.check_all(&disk, &all(), "copied");
}

/// The archived logs, in order.
fn kept(disk: &SimDisk) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| path.to_str().is_some_and(|path| path.starts_with("/archive/wal-"));
    disk.all_files().into_iter().map(|(path, _)| path).filter(is_log).collect()
}

fn error(disk: &SimDisk, sources: &Sources, until: Until) -> (ErrorKind, String) {
    let files = disk.all_files();
    let error = restore_on(Arc::new(disk.clone()), Path::new(DEST), sources, until).expect_err("it is refused");
    assert_eq!(disk.all_files(), files, "what was begun is removed: {error}");
    assert!(!disk.exists(Path::new(DEST)).unwrap());
    (error.kind(), error.to_string())
}

#[test]
fn gaps_are_named_and_nothing_is_made_of_them() {
    let disk = SimDisk::new(7);
    let (store, history) = filled(&disk);
    store.close().unwrap();
    let (first, second) = (kept(&disk).remove(0), kept(&disk).remove(1));
    let whole = disk.fork();
    disk.remove(&second).unwrap();
    // A checkpoint spares what is missing, unless it is too late.
    restored(&disk, &all(), Until::End).unwrap();
    assert_eq!(
        error(&disk, &all(), Until::Lsn(9)),
        (
            ErrorKind::Invalid,
            "/store/checkpoint.dat is as of LSN 15, later than 9, and without it the records 8 to 8 are missing"
                .to_owned()
        )
    );
    let archive_only = sources(None, Some(ARCHIVE), None);
    let missing = (ErrorKind::Corrupt, "the records 8 to 8 are missing".to_owned());
    assert_eq!(error(&disk, &archive_only, Until::End), missing);
    let (until, _) = restored(&disk, &archive_only, Until::Lsn(7)).unwrap();
    assert_eq!(until.last_lsn, 7);
    disk.remove(&first).unwrap();
    assert_eq!(error(&disk, &archive_only, Until::Lsn(7)).1, "the records 1 to 8 are missing");

    let beyond = error(&whole, &all(), Until::Lsn(100));
    assert_eq!(beyond.0, ErrorKind::Invalid);
    assert_eq!(beyond.1, format!("the records end with LSN {}, before 100", history.last_lsn()));
    let backup = sources(Some(BACKUP), None, None);
    assert_eq!(error(&whole, &backup, Until::Lsn(3)).0, ErrorKind::Invalid);
    assert_eq!(error(&whole, &sources(None, None, None), Until::End).0, ErrorKind::Invalid);
    assert_eq!(error(&whole, &backup, Until::Time(u64::MAX)).0, ErrorKind::Invalid);
    assert_eq!(
        error(&whole, &all(), Until::Time(0)),
        (ErrorKind::Invalid, "/archive notes nothing from so early".to_owned())
    );
    assert_eq!(error(&whole, &sources(Some("/nowhere"), Some(ARCHIVE), None), Until::End).0, ErrorKind::Io);
    assert_eq!(error(&whole, &sources(None, Some("/nowhere"), None), Until::End).0, ErrorKind::Io);
}

#[test]
fn damage_in_an_archive_is_named_and_what_comes_before_it_can_be_restored() {
    let disk = SimDisk::new(8);
    let (store, history) = filled(&disk);
    store.close().unwrap();
    let archive_only = sources(None, Some(ARCHIVE), None);
    let path = kept(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let disk = disk.fork();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        disk.overwrite(&path, &damaged);
        let (kind, message) = error(&disk, &archive_only, Until::End);
        assert_eq!(kind, ErrorKind::Corrupt, "byte {at}: {message}");
        assert!(message.contains("/archive/wal-"), "byte {at}: {message}");
    }
    for len in [0, 10, bytes.len() - 1] {
        let disk = disk.fork();
        disk.overwrite(&path, &bytes[..len]);
        assert_eq!(error(&disk, &archive_only, Until::End).0, ErrorKind::Corrupt, "{len} bytes");
    }
    // The last record is damaged, and the one before it is asked for.
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    disk.overwrite(&path, &damaged);
    let (until, found) = restored(&disk, &archive_only, Until::Lsn(6)).unwrap();
    assert_eq!((until.last_lsn, found), history.as_of(6));
}

#[test]
fn a_damaged_store_does_not_keep_the_archive_from_being_used() {
    let disk = SimDisk::new(9);
    let (store, mut history) = filled(&disk);
    history.set(&store, 3, 5);
    history.set(&store, 3, 6);
    store.close().unwrap();
    let checkpoint = Path::new(DIR).join("checkpoint.dat");
    let mut bytes = disk.contents(&checkpoint).unwrap();
    let last = bytes.len() - 30;
    for at in [0, last] {
        bytes[at] ^= 1;
        disk.overwrite(&checkpoint, &bytes);
        let (end, found) = restored(&disk, &all(), Until::End).unwrap();
        assert_eq!((end.last_lsn, end.checkpoint_lsn), (history.last_lsn(), 0));
        assert!(found == history.as_of(u64::MAX).1);
        bytes[at] ^= 1;
    }
    bytes[0] ^= 1;
    disk.overwrite(&checkpoint, &bytes);
    let fork = disk.fork();
    fork.remove(kept(&fork).last().unwrap()).unwrap();
    let missing = (ErrorKind::Corrupt, "the records 9 to 15 are missing".to_owned());
    assert_eq!(error(&fork, &all(), Until::End), missing);
    bytes[0] ^= 1;
    // Damage in the log is nothing to stop at without a word, unless it is said where to stop.
    disk.overwrite(&checkpoint, &bytes);
    let log = Path::new(DIR).join("wal.log");
    let mut bytes = disk.contents(&log).unwrap();
    bytes[84] ^= 1;
    disk.overwrite(&log, &bytes);
    let (kind, message) = error(&disk, &all(), Until::End);
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(message.starts_with("/store/wal.log: record 17 at offset 54: checksum"), "{message}");
    assert!(message.ends_with("; what comes before it can be restored, up to LSN 16"), "{message}");
    let (until, found) = restored(&disk, &all(), Until::Lsn(16)).unwrap();
    assert!((until.last_lsn, found) == history.as_of(16));
    // A torn end is one, as ever.
    let len = bytes.len();
    bytes[84] ^= 1;
    disk.overwrite(&log, &bytes[..len - 1]);
    let (end, _) = restored(&disk, &all(), Until::End).unwrap();
    assert_eq!(end.last_lsn, 20);
    // A backup must be whole.
    let checkpoint = Path::new(BACKUP).join("checkpoint.dat");
    let mut bytes = disk.contents(&checkpoint).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    disk.overwrite(&checkpoint, &bytes);
    let (kind, message) = error(&disk, &sources(Some(BACKUP), Some(ARCHIVE), Some(DIR)), Until::End);
    assert!(kind == ErrorKind::Corrupt && message.contains("/backup/checkpoint.dat is damaged"), "{message}");
}

#[test]
fn the_store_itself_is_no_archive() {
    let disk = SimDisk::new(11);
    let options = Options { archive_dir: Some(DIR.into()), ..support::options() };
    let error = Store::open_on(Arc::new(disk.clone()), DIR, &options).err().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), "/store is the store: its archive needs a directory of its own");
    support::open(&disk).unwrap();
}

#[test]
fn an_archive_is_of_one_history() {
    let disk = SimDisk::new(10);
    let (store, _) = filled(&disk);
    store.close().unwrap();
    let refused = |disk: &SimDisk, dir: &str| {
        let opened = Store::open_on(Arc::new(disk.clone()), dir, &options());
        opened.err().expect("it is refused")
    };
    // An older copy would write other records under the same LSNs.
    let older = refused(&disk, BACKUP);
    assert_eq!(older.kind(), ErrorKind::Invalid);
    assert_eq!(
        older.to_string(),
        "/archive keeps records up to LSN 15, but the store ends with 8: it is an older copy, or another store, and needs an \
         archive of its own"
    );
    // One that has gone on by itself meanwhile is found out when its log is to be kept, and the log stays.
    let vfs = || Arc::new(disk.clone());
    let other = Store::open_on(vfs(), BACKUP, &support::options()).unwrap();
    (0..20).for_each(|key| other.set(&[key], b"another").unwrap());
    other.close().unwrap();
    let other = Store::open_on(vfs(), BACKUP, &options()).unwrap();
    other.set(b"one", b"more").unwrap();
    let clash = other.checkpoint().unwrap_err();
    assert!(
        clash.kind() == ErrorKind::Invalid && clash.to_string().contains("whose records are not those of"),
        "{clash}"
    );
    other.set(b"goes", b"on").unwrap();
    assert_eq!(other.get(b"one").unwrap().as_deref(), Some(&b"more"[..]));
    // Nobody else keeps logs there meanwhile.
    let locked = refused(&disk, DIR);
    assert!(locked.kind() == ErrorKind::Locked && locked.to_string().contains(ARCHIVE), "{locked}");
    other.close().unwrap();
    open(&disk).close().unwrap();
    // As a backup it does not fit.
    let (kind, message) = error(&disk, &sources(Some(BACKUP), Some(ARCHIVE), None), Until::Lsn(40));
    assert_eq!(kind, ErrorKind::Invalid, "{message}");
}

#[test]
fn a_backup_of_another_store_is_told_by_what_it_holds() {
    let disk = SimDisk::new(15);
    let (store, history) = filled(&disk);
    store.close().unwrap();
    // With the same keys, and with others.
    for first in [0, 100] {
        let (dir, backup) = (format!("/other{first}"), format!("/other{first}-backup"));
        let other = Store::open_on(Arc::new(disk.clone()), &dir, &support::options()).unwrap();
        (first..first + 6).for_each(|key| other.set(&[key], &[9; 10]).unwrap());
        other.backup(&backup).unwrap();
        other.close().unwrap();
        for until in [Until::End, Until::Lsn(6), Until::Lsn(8)] {
            let (kind, message) = error(&disk, &sources(Some(&backup), Some(ARCHIVE), None), until);
            let expected = "/checkpoint.dat is not what the records in /archive make: it is another history";
            assert!(kind == ErrorKind::Corrupt && message.ends_with(expected), "{message}");
        }
    }
    // Of its own store it is, whatever was deleted, expired, or set twice.
    restored(&disk, &sources(Some(BACKUP), Some(ARCHIVE), None), Until::End).unwrap();
    let store = open(&disk);
    store.set_ttl(b"brief", b"", 10).unwrap();
    store.set_ttl(b"long", b"", 1000).unwrap();
    store.del(&[9]).unwrap();
    disk.pass(10);
    store.backup("/backup2").unwrap();
    store.set(b"more", b"").unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    let (end, _) = restored(&disk, &sources(Some("/backup2"), Some(ARCHIVE), None), Until::End).unwrap();
    assert_eq!((end.checkpoint_lsn, end.records), (history.last_lsn() + 3, 1));
}

#[test]
fn one_store_is_made_in_a_directory_at_a_time() {
    let disk = SimDisk::new(16);
    let (store, _) = filled(&disk);
    store.close().unwrap();
    let lock = Path::new(DEST).join("LOCK");
    disk.create_dir(Path::new(DEST)).unwrap();
    let other = disk.open(&lock, Access::Create).unwrap();
    assert!(other.try_lock().unwrap());
    let restore = || restore_on(Arc::new(disk.clone()), Path::new(DEST), &all(), Until::End);
    assert_eq!(restore().unwrap_err().kind(), ErrorKind::Locked);
    assert!(disk.exists(&lock).unwrap(), "it is the other's");
    drop(other);
    let left = restore().unwrap_err();
    assert!(left.to_string().contains("interrupted: remove it"), "{left}");
    disk.remove(&lock).unwrap();
    restore().unwrap();
}

#[test]
fn a_directory_that_took_the_archives_place_is_not_the_archive() {
    let disk = SimDisk::new(17);
    let (store, mut history) = (open(&disk), History::default());
    history.set(&store, 1, 10);
    disk.remove(&Path::new(ARCHIVE).join("LOCK")).unwrap();
    let gone = store.checkpoint().unwrap_err();
    assert_eq!(
        (gone.kind(), gone.to_string().as_str()),
        (ErrorKind::Io, "/archive is not the archive any more: its LOCK is not there")
    );
    history.set(&store, 2, 10);
    store.close().unwrap();
    let store = open(&disk);
    store.checkpoint().unwrap();
    history.set(&store, 3, 10);
    store.close().unwrap();
    history.check_all(&disk, &all(), "later");
}

#[test]
fn a_log_that_only_begins_with_the_same_lsn_is_not_the_one_that_was_kept() {
    for (value, is_same) in [(&b"one"[..], true), (b"two", false)] {
        let disk = SimDisk::new(13);
        let first = open(&disk);
        first.set(b"key", b"one").unwrap();
        first.checkpoint().unwrap();
        first.close().unwrap();
        let second = Store::open_on(Arc::new(disk.clone()), "/second", &support::options()).unwrap();
        second.set(b"key", value).unwrap();
        second.set(b"key", b"three").unwrap();
        second.close().unwrap();
        let second = Store::open_on(Arc::new(disk.clone()), "/second", &options()).unwrap();
        assert_eq!(
            second.checkpoint().map_err(|error| error.kind()),
            if is_same { Ok(()) } else { Err(ErrorKind::Invalid) }
        );
        assert_eq!(kept(&disk).len(), if is_same { 2 } else { 1 });
    }
}

#[test]
fn a_log_that_was_damaged_after_it_was_kept_does_not_hold_up_the_next_checkpoint() {
    let mut tried = 0;
    for after in 0..10 {
        let disk = SimDisk::new(14);
        let (store, mut history) = (open(&disk), History::default());
        history.set(&store, 1, 10);
        history.set(&store, 2, 10);
        // Otherwise it may be the thread that keeps the time whose call fails.
        wait_until_noted(&disk, 2);
        let fault = Fault { call: Some(Call::SyncDir), after, times: 1, errno: libc::EIO, short_first: false };
        disk.fail(fault);
        let made = store.checkpoint();
        disk.heal();
        let [kept] = &kept(&disk)[..] else { continue };
        if made.is_ok() || store.set(&[3], b"").is_err() {
            continue;
        }
        tried += 1;
        history.note(&store);
        store.close().unwrap();
        // What was kept is another file, as on another file system, and whole.
        let whole = disk.contents(kept).unwrap();
        disk.remove(kept).unwrap();
        put_file(&disk, kept.to_str().unwrap(), &whole);
        let mut damaged = whole.clone();
        damaged[70] ^= 1;
        disk.overwrite("/store/wal.log", &damaged);
        let store = open(&disk);
        history.set(&store, 4, 10);
        store.checkpoint().unwrap();
        history.set(&store, 5, 10);
        store.checkpoint().unwrap();
        store.close().unwrap();
        history.check_all(&disk, &all(), "damaged");
    }
    assert_eq!(tried, 1);
}

#[test]
fn a_backup_that_was_written_to_is_told_from_the_history_of_the_archive() {
    let prepared = SimDisk::new(11);
    let (store, _) = filled(&prepared);
    store.close().unwrap();
    // Into a batch of the archive's, up to its end, to the end of the archive, and to a record of the store's.
    for count in [1, 6, 7, 8] {
        let disk = prepared.fork();
        let other = Store::open_on(Arc::new(disk.clone()), BACKUP, &support::options()).unwrap();
        (0..count).for_each(|key| other.set(&[key], b"another history").unwrap());
        other.close().unwrap();
        for until in [Until::End, Until::Lsn(8 + u64::from(count))] {
            let (kind, message) = error(&disk, &sources(Some(BACKUP), Some(ARCHIVE), Some(DIR)), until);
            assert!(kind == ErrorKind::Corrupt && message.ends_with("another history"), "{count}: {message}");
        }
    }
}

#[test]
fn a_time_gives_what_was_durable_by_then_and_nothing_later() {
    for sync in [SyncMode::Always, SyncMode::Interval] {
        let disk = SimDisk::new(12);
        let options = Options { sync, sync_interval_ms: 1, ..options() };
        let mut history = History::default();
        let mut times = Vec::new();
        let mut store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
        for round in 0..6 {
            disk.pass(60_000);
            history.set(&store, round, 40);
            if round % 2 == 1 {
                store.checkpoint().unwrap();
            }
            if round == 3 {
                store.close().unwrap();
                store = Store::open_on(Arc::new(disk.clone()), DIR, &options).unwrap();
            }
            wait_until_noted(&disk, history.last_lsn());
            times.push(disk.now_ms());
        }
        store.close().unwrap();
        for (time, (lsn, expected)) in times.iter().zip(&history.states) {
            for later in [0, 59_999] {
                let (restored, found) = restored(&disk, &all(), Until::Time(time + later)).unwrap();
                assert_eq!((restored.last_lsn, restored.noted_ms, &found), (*lsn, Some(*time), expected), "{sync:?}");
            }
        }
        assert_eq!(error(&disk, &all(), Until::Time(times[0] - 60_001)).0, ErrorKind::Invalid);
    }
}

/// Waits until the archive says that the record `lsn` is durable now.
fn wait_until_noted(disk: &SimDisk, lsn: u64) {
    let began = Instant::now();
    while disk
        .all_files()
        .iter()
        .filter(|(path, _)| path.starts_with(ARCHIVE))
        .all(|(_, bytes)| !bytes.ends_with(&lsn.to_be_bytes()))
    {
        assert!(began.elapsed() < Duration::from_secs(20), "LSN {lsn} is not noted");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_store_at_work_can_be_restored_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (archive_dir, checkpoint_wal_bytes) = (Some(path("archive")), Size::Bytes(2_000));
    let options = Options { archive_dir, checkpoint_wal_bytes, ..Options::default() };
    let store = Store::open(path("store"), &options).unwrap();
    let is_done = AtomicBool::new(false);
    let sources = Sources { backup: None, archive: Some(path("archive")), store: Some(path("store")) };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..200_000u32).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                store.set(&number.to_be_bytes(), &[7; 50]).unwrap();
            }
        });
        let mut last_lsn = 0;
        for round in 0..20 {
            let dest = path(&format!("restored{round}"));
            while store.stats().checkpoint_lsn == 0 {}
            let made = kvwal::restore(&dest, &sources, Until::End);
            let made = made.inspect_err(|_| is_done.store(true, Ordering::Relaxed)).unwrap();
            assert!(made.last_lsn >= last_lsn && made.checkpoint_lsn > 0, "{made:?} after {last_lsn}");
            last_lsn = made.last_lsn;
            let restored = Store::open(&dest, &Options::default()).unwrap();
            // Each record has set a key of its own, in order.
            assert_eq!(restored.stats().keys, last_lsn);
            let last = u32::try_from(last_lsn - 1).unwrap().to_be_bytes();
            assert!(restored.get(&last).unwrap().is_some());
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(store.stats().checkpoints > 10, "{:?}", store.stats());
}

#[test]
fn on_a_real_disk_a_kept_log_is_as_long_as_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let options =
        Options { archive_dir: Some(path("archive")), checkpoint_wal_bytes: Size::Bytes(20_000), ..Options::default() };
    let store = Store::open(path("store"), &options).unwrap();
    for number in 0..2000u32 {
        store.set(&number.to_be_bytes(), &[7; 50]).unwrap();
    }
    assert_eq!(store.stats().checkpoints_failed, 0);
    store.close().unwrap();
    let mut records = 0;
    for entry in std::fs::read_dir(path("archive")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("wal-") {
            let report = kvwal::wal::replay(&path, 0, |_| true).unwrap();
            assert_eq!(report.stop_offset, path.metadata().unwrap().len(), "{}", path.display());
            records += report.records_replayed;
        }
    }
    assert!(records > 1000, "{records}");
    let sources = Sources { archive: Some(path("archive")), ..Sources::default() };
    let restored = kvwal::restore(path("restored"), &sources, Until::Lsn(777)).unwrap();
    assert_eq!((restored.last_lsn, restored.records), (777, 777));
    let store = Store::open(path("restored"), &Options::default()).unwrap();
    assert_eq!(store.stats().keys, 777);
}
