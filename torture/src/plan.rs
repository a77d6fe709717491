//! What a run does, decided by a seed.

use kvwal::vfs::sim::{Call, Direct, Fault, Random};
use kvwal::{Options, RecoveryMode, Size, SyncMode};

/// How many keys there are: few, so that they are overwritten, deleted, and set again.
pub const KEYS: u8 = 12;

/// One call of a writer, or what happens beside it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sets a key to a value of this length.
    Set(u8, usize),
    /// The same, for so many milliseconds.
    SetTtl(u8, usize, u64),
    Del(u8),
    /// A batch of sets to values of these lengths, and of deletes.
    Write(Vec<(u8, Option<usize>)>),
    Get(u8),
    Scan,
    Checkpoint,
    Sync,
    /// The clock goes on by so many milliseconds.
    Pass(u64),
}

/// From one opening of the store to the next.
#[derive(Clone, Debug)]
pub struct Session {
    pub options: Options,
    /// What each of the writers does, in its order.
    pub writers: Vec<Vec<Act>>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub direct: Direct,
    /// Sessions that end with a close.
    pub sessions: Vec<Session>,
    /// Calls that fail. They begin to in the first session.
    pub fault: Option<Fault>,
}

/// Whether there may be several writers, and threads of the store's: only where a seed schedules those, too.
const MANY: bool = cfg!(kvwal_shuttle);

impl Plan {
    /// A run of a store from its beginning.
    pub fn new(random: &mut Random) -> Plan {
        let sessions = 1 + random.below(3);
        let mut plan = Plan {
            direct: direct(random),
            sessions: (0..sessions).map(|_| session(random, 30)).collect(),
            fault: (random.below(3) == 0).then(|| fault(random, 60)),
        };
        if random.below(6) == 0 {
            plan.lose_names(random);
        }
        plan
    }

    /// Has one sync of names fail, and more sessions follow: those find in the page cache what the disk may not have.
    fn lose_names(&mut self, random: &mut Random) {
        let after = random.below(10) as u64;
        self.fault = Some(Fault { call: Some(Call::SyncDir), after, times: 1, errno: libc::EIO, short_first: false });
        self.sessions.push(session(random, 30));
    }

    /// A short one, of a store that was recovered.
    pub fn continuing(random: &mut Random) -> Plan {
        Plan {
            direct: direct(random),
            sessions: vec![session(random, 6)],
            fault: (random.below(4) == 0).then(|| fault(random, 10)),
        }
    }
}

fn session(random: &mut Random, most: usize) -> Session {
    let writers = if MANY { 1 + random.below(4) } else { 1 };
    let acts = 1 + random.below(most);
    let writers = (0..writers).map(|_| (0..acts.div_ceil(writers)).map(|_| act(random)).collect()).collect();
    Session { options: options(random), writers }
}

/// Options under which a store is opened. Space ahead is scarce, so that logs often leave it.
pub fn options(random: &mut Random) -> Options {
    let sync = match random.below(8) {
        0 => SyncMode::None,
        1 if MANY => SyncMode::Interval,
        _ => SyncMode::Always,
    };
    let preallocate = match random.below(4) {
        0 => Size::Never,
        1 => Size::Bytes(1000),
        2 => Size::Bytes(5000),
        // From here on a thread fills it.
        _ if MANY => Size::Bytes(64 << 10),
        _ => Size::Bytes(512),
    };
    let checkpoint_wal_bytes = match MANY && random.below(3) == 0 {
        true => Size::Bytes(1000 + random.below(4000) as u64),
        false => Size::Never,
    };
    // After crashes alone nothing is damaged, so strict mode opens what the other does.
    let recovery = if random.below(3) == 0 { RecoveryMode::Strict } else { RecoveryMode::Prefix };
    Options { sync, sync_interval_ms: 1, preallocate, checkpoint_wal_bytes, recovery, ..Options::default() }
}

fn act(random: &mut Random) -> Act {
    let key = random.below(usize::from(KEYS)) as u8;
    match random.below(32) {
        0..=11 => Act::Set(key, length(random)),
        12..=13 => Act::SetTtl(key, length(random), 1 + random.below(3000) as u64),
        14..=17 => Act::Del(key),
        18..=21 => Act::Write(batch(random)),
        22..=25 => Act::Get(key),
        26 => Act::Scan,
        27..=29 => Act::Checkpoint,
        30 => Act::Sync,
        _ => Act::Pass(1 + random.below(2000) as u64),
    }
}

fn batch(random: &mut Random) -> Vec<(u8, Option<usize>)> {
    let len = 1 + random.below(6);
    let mut change = || {
        let key = random.below(usize::from(KEYS)) as u8;
        (key, (random.below(4) > 0).then(|| length(random)))
    };
    (0..len).map(|_| change()).collect()
}

/// Of a value. Mostly short; some longer than a sector or a page, and a few that are written from where they are.
fn length(random: &mut Random) -> usize {
    match random.below(64) {
        0..=5 => random.below(6),
        6..=45 => 6 + random.below(120),
        46..=57 => 400 + random.below(1500),
        58..=62 => 4000 + random.below(2000),
        _ => (64 << 10) + random.below(100),
    }
}

fn direct(random: &mut Random) -> Direct {
    match random.below(8) {
        0 => Direct::NotOffered,
        1 => Direct::Refused,
        2 => Direct::RefusedAfter(random.below(10) as u64),
        _ => Direct::Works,
    }
}

/// A call that fails, one of the first `before` of its kind and rather an early one: once, a few times, or for ever.
pub fn fault(random: &mut Random, before: usize) -> Fault {
    const ERRORS: [i32; 8] =
        [libc::EIO, libc::EIO, libc::ENOSPC, libc::ENOSPC, libc::EDQUOT, libc::EFBIG, libc::EINTR, libc::EMFILE];
    let call = match random.below(6) {
        0 => None,
        1..=2 => Some(Call::Write),
        3..=4 => Some(Call::Sync),
        _ => Some(Call::ALL[random.below(Call::ALL.len())]),
    };
    let errno = match random.below(6) {
        // Short counts, where there are counts.
        0 if matches!(call, Some(Call::Write | Call::Read)) => 0,
        _ => ERRORS[random.below(ERRORS.len())],
    };
    let times = match random.below(3) {
        0 => 1,
        1 => 1 + random.below(5) as u64,
        // What is interrupted or cut short for ever would be tried for ever.
        _ if errno == 0 || errno == libc::EINTR => 3,
        _ => u64::MAX,
    };
    let latest = 1 + random.below(before);
    Fault { call, after: random.below(latest) as u64, times, errno, short_first: random.below(2) == 0 }
}
