//! From one seed to many crashes.
//!
//! A run of a [plan](crate::plan) is made once, and the disk kept as it was right before some of its calls. From each of these
//! moments the world goes on in several ways: the power fails, so that what was not synced lands in part, or the process is
//! killed. Then the store is recovered and [checked](crate::oracle). The recovery is itself a run of which moments are
//! kept, and calls fail; and what was recovered goes on with another plan, of which moments are kept: so crashes follow
//! each other, up to [`DEPTH`].

use kvwal::vfs::sim::{Moment, Random, SimDisk};
use kvwal::{ErrorKind, Options, Size};

use crate::history::History;
use crate::logs::{self, Logs};
use crate::oracle::{self, Base, End, Evidence, Recovered};
use crate::plan::{self, Plan};
use crate::run;

/// Crashes in a row.
const DEPTH: usize = 3;
/// Of 1024 calls of a run, so many are moments of a crash.
const SHARE: usize = 200;
/// Likewise of a recovery.
const RECOVERY_SHARE: usize = 80;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Recoveries that were checked.
    pub states: u64,
    /// Runs of a plan, and those of them in which calls failed.
    pub runs: u64,
    pub faulty_runs: u64,
    /// Recoveries in which a call failed.
    pub faulty_recoveries: u64,
    /// Calls of the library that changed something.
    pub writes: u64,
}

impl Tally {
    /// Adds what another seed has tried.
    pub fn add(&mut self, other: &Tally) {
        self.states += other.states;
        self.runs += other.runs;
        self.faulty_runs += other.faulty_runs;
        self.faulty_recoveries += other.faulty_recoveries;
        self.writes += other.writes;
    }
}

/// Explores what follows from a seed; an error says what went wrong, and where.
pub fn explore(seed: u64) -> Result<Tally, String> {
    let mut explorer = Explorer { random: Random::new(seed), tally: Tally::default() };
    let disk = SimDisk::new(seed);
    let plan = Plan::new(&mut explorer.random);
    explorer.run(&disk, &plan, &Base::default(), 0)?;
    Ok(explorer.tally)
}

struct Explorer {
    random: Random,
    tally: Tally,
}

impl Explorer {
    /// Runs a plan on a store that holds `base`, and crashes it in many places.
    fn run(&mut self, disk: &SimDisk, plan: &Plan, base: &Base, depth: usize) -> Result<(), String> {
        let share = SHARE >> (2 * depth);
        disk.keep_moments(share, self.random.next());
        let history = run::run(disk, plan, base.calls);
        disk.heal();
        let moments = disk.take_moments();
        self.tally.runs += 1;
        self.tally.faulty_runs += u64::from(plan.fault.is_some());
        self.tally.writes += history.writes.len() as u64;
        if let Some(wrong) = &history.wrong {
            return Err(format!("{wrong}\nin {plan:#?}"));
        }
        let logs = Logs::ever(disk);
        oracle::check_scans(base, &history, &logs)?;
        for moment in &moments {
            self.crash(moment, base, &history, depth)
                .map_err(|error| format!("{error}\nafter {} calls of run {depth}: {plan:#?}", moment.calls))?;
        }
        // At the end, too.
        let end = if self.random.below(2) == 0 { End::Kill } else { End::PowerCut };
        let crashed = disk.fork();
        match end {
            End::Kill => crashed.kill(),
            End::PowerCut => crashed.crash(self.random.next()),
        }
        let evidence = Evidence { base, history: &history, calls: u64::MAX, logs: &logs, end };
        self.recover(&crashed, &evidence, depth).map_err(|error| format!("{error}\nat the end of {plan:#?}"))
    }

    /// Lets the world end at a moment of a run, in more than one way.
    fn crash(&mut self, moment: &Moment, base: &Base, history: &History, depth: usize) -> Result<(), String> {
        let logs = Logs::up_to(moment);
        for end in [End::PowerCut, End::PowerCut, End::Kill] {
            let seed = self.random.next();
            let disk = match end {
                End::PowerCut => moment.crashed(seed),
                End::Kill => moment.killed(seed),
            };
            let evidence = Evidence { base, history, calls: moment.calls, logs: &logs, end };
            self.recover(&disk, &evidence, depth)
                .map_err(|error| format!("{error}\nafter {end:?} with seed {seed}"))?;
        }
        Ok(())
    }

    /// Recovers, perhaps with a crash or a failing call in the middle of it, and goes on.
    fn recover(&mut self, disk: &SimDisk, evidence: &Evidence<'_>, depth: usize) -> Result<(), String> {
        match self.random.below(8) {
            0 => self.crash_in_recovery(disk, evidence, depth)?,
            1 => self.fail_in_recovery(disk, evidence)?,
            _ => {}
        }
        let base = self.check_recovery(disk, evidence)?;
        if depth + 1 < DEPTH && self.random.below(4) == 0 {
            let plan = Plan::continuing(&mut self.random);
            return self.run(disk, &plan, &base, depth + 1);
        }
        Ok(())
    }

    fn crash_in_recovery(&mut self, disk: &SimDisk, evidence: &Evidence<'_>, depth: usize) -> Result<(), String> {
        let recovering = disk.fork();
        recovering.keep_moments(RECOVERY_SHARE, self.random.next());
        drop(run::open(&recovering, &plan::options(&mut self.random)));
        for moment in recovering.take_moments() {
            let (end, seed) = (self.random.below(2), self.random.next());
            let (disk, end) = match end {
                0 => (moment.killed(seed), evidence.end),
                _ => (moment.crashed(seed), End::PowerCut),
            };
            let evidence = Evidence { end, ..evidence.clone() };
            let checked = self.check_recovery(&disk, &evidence);
            checked.map_err(|error| format!("{error}\nafter {end:?} at call {} of recovery {depth}", moment.calls))?;
        }
        Ok(())
    }

    /// Has a call of a recovery fail; another must succeed, whatever happened in between.
    fn fail_in_recovery(&mut self, disk: &SimDisk, evidence: &Evidence<'_>) -> Result<(), String> {
        let failing = disk.fork();
        let fault = plan::fault(&mut self.random, 30);
        failing.fail(fault);
        let opened = run::open(&failing, &plan::options(&mut self.random));
        self.tally.faulty_recoveries += u64::from(failing.heal());
        if let Err(error) = &opened
            && !matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Failed)
        {
            return Err(format!("with {fault:?}, opening says {:?}: {error}", error.kind()));
        }
        // If it opened all the same, it is killed before it can do anything.
        failing.kill();
        drop(opened);
        let end = match self.random.below(2) {
            0 => evidence.end,
            _ => {
                failing.crash(self.random.next());
                End::PowerCut
            }
        };
        let checked = self.check_recovery(&failing, &Evidence { end, ..evidence.clone() });
        checked.map(drop).map_err(|error| format!("{error}\nafter {fault:?} in a recovery, then {end:?}"))
    }

    /// Recovers what a crash left and checks it: what it holds, what was kept in quarantine, and that it can be written to.
    fn check_recovery(&mut self, disk: &SimDisk, evidence: &Evidence<'_>) -> Result<Base, String> {
        self.tally.states += 1;
        let before = logs::NAMES.map(|name| logs::contents(disk, name).unwrap_or_default());
        let options = plan::options(&mut self.random);
        let store = run::open(disk, &options).map_err(|error| format!("the store does not open: {error}"))?;
        store.check_invariants();
        let report = store.recovery_report().clone();
        let contents = run::contents(&store).map_err(|error| format!("scan: {error}"))?;
        let recovered = Recovered {
            last_lsn: report.last_lsn,
            verdict: report.verdict,
            contents: &contents,
            logs: &Logs::now(disk),
            now_ms: disk.now_ms(),
        };
        let base = oracle::check(evidence, &recovered).map_err(|error| format!("{error}\n{report:?}"))?;
        check_quarantine(disk, &before)?;
        disk.forget_nameless();
        if self.random.below(2) == 0 {
            drop(store);
            self.go_on(&disk.fork(), &base)?;
        } else {
            // Not closed, so that what recovery left is what the next run finds.
            disk.kill();
            drop(store);
        }
        Ok(base)
    }

    /// The store takes writes, and has them when it is opened again.
    fn go_on(&mut self, disk: &SimDisk, base: &Base) -> Result<(), String> {
        let options = Options { checkpoint_wal_bytes: Size::Never, ..plan::options(&mut self.random) };
        let mut expected = base.at(disk.now_ms());
        let again = |error: kvwal::Error| format!("after the recovery: {error}");
        let store = run::open(disk, &options).map_err(again)?;
        for key in [&b"after"[..], b"the crash"] {
            store.set(key, b"a value").map_err(again)?;
            expected.insert(key.to_vec(), b"a value".to_vec());
        }
        store.close().map_err(again)?;
        let store = run::open(disk, &options).map_err(again)?;
        let report = store.recovery_report();
        if (report.verdict, report.last_lsn) != (kvwal::Verdict::Clean, base.lsn + 2) {
            return Err(format!("after the recovery, two writes and a close: {report:?}"));
        }
        oracle::compare(&expected, &run::contents(&store).map_err(again)?)
    }
}

/// What was cut off a log is in quarantine.
fn check_quarantine(disk: &SimDisk, before: &[Vec<u8>; 2]) -> Result<(), String> {
    for (name, before) in logs::NAMES.iter().zip(before) {
        let after = logs::contents(disk, name).unwrap_or_default();
        if after.starts_with(before) {
            continue;
        }
        let cut = &before[logs::valid_len(&after).min(before.len())..];
        if cut.iter().all(|&byte| byte == 0) {
            continue;
        }
        let quarantine = format!("{}/quarantine", run::DIR);
        let is_saved = disk.all_files().iter().any(|(path, saved)| {
            let rest = cut.strip_prefix(&saved[..]);
            path.starts_with(&quarantine) && rest.is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
        });
        if !is_saved {
            return Err(format!("{} bytes were cut off {name}, and are not in quarantine", cut.len()));
        }
    }
    Ok(())
}
