//! From one seed to many crashes.
//!
//! A run of a [plan](crate::plan) is made once, and the disk kept as it was right before some of its calls. From each of these
//! moments the world goes on in several ways: the power fails, so that what was not synced lands in part, or the process is
//! killed. Then the store is recovered and [checked](crate::oracle). The recovery is itself a run of which moments are
//! kept, and calls fail; and what was recovered goes on with another plan, of which moments are kept: so crashes follow
//! each other, up to [`DEPTH`].

use std::sync::Arc;

use kvwal::vfs::sim::{Moment, Random, SimDisk};

use crate::history::History;
use crate::logs::Logs;
use crate::oracle::{self, Base, End, Evidence};
use crate::plan::{self, Plan};
use crate::recovery::{self, Before};
use crate::{exec, order, run};

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
    let plan = Plan::new(&mut explorer.random);
    explorer.run(None, plan, Arc::default(), 0)?;
    Ok(explorer.tally)
}

/// How the world ended, at some moment.
#[derive(Clone)]
struct Crash {
    moment: Arc<Moment>,
    end: End,
    seed: u64,
    /// If it came in the middle of a recovery from a power cut: what there was before that.
    before: Option<Arc<Before>>,
}

impl Crash {
    /// What is left of the disk.
    fn disk(&self) -> SimDisk {
        match self.end {
            End::PowerCut => self.moment.crashed(self.seed),
            End::Kill => self.moment.killed(self.seed),
        }
    }
}

/// A run of a plan.
struct Ran {
    history: Arc<History>,
    /// Moments of it, with the records written until then; the end is the last of them.
    moments: Vec<(Arc<Moment>, Arc<Logs>)>,
}

/// Runs a plan on a new disk, or on what was left of one.
fn run_plan(start: Option<Arc<Moment>>, plan: &Plan, first_call: u32, share: usize, seed: u64) -> Ran {
    let disk = start.map_or_else(|| SimDisk::new(seed), |moment| moment.killed(seed));
    disk.keep_moments(share, seed);
    let history = Arc::new(run::run(&disk, plan, first_call));
    disk.heal();
    let with_logs = |moment| {
        let logs = Arc::new(Logs::up_to(&moment));
        (Arc::new(moment), logs)
    };
    let mut moments: Vec<_> = disk.take_moments().into_iter().map(with_logs).collect();
    moments.push(with_logs(disk.moment()));
    Ran { history, moments }
}

struct Explorer {
    random: Random,
    tally: Tally,
}

impl Explorer {
    /// Runs a plan on a store that holds `base`, and crashes it in many places.
    fn run(&mut self, start: Option<Arc<Moment>>, plan: Plan, base: Arc<Base>, depth: usize) -> Result<(), String> {
        let (seed, share, first_call) = (self.random.any(), SHARE >> (2 * depth), base.calls);
        let plan = Arc::new(plan);
        let planned = Arc::clone(&plan);
        let Ran { history, moments } =
            exec::scheduled(seed, move || run_plan(start, &planned, first_call, share, seed));
        self.tally.runs += 1;
        self.tally.faulty_runs += u64::from(plan.fault.is_some());
        self.tally.writes += history.writes.len() as u64;
        let in_plan = |error: String| format!("{error}\nin run {depth}: {plan:#?}");
        if let Some(wrong) = &history.wrong {
            return Err(in_plan(wrong.clone()));
        }
        let (_, all_logs) = moments.last().expect("the end is one");
        oracle::check_scans(&base, &history, all_logs).map_err(in_plan)?;
        order::check(&base, &history).map_err(in_plan)?;
        for (moment, logs) in moments {
            for end in [End::PowerCut, End::PowerCut, End::Kill] {
                let (base, history, logs) = (Arc::clone(&base), Arc::clone(&history), Arc::clone(&logs));
                let may_fail = plan.fault.is_some();
                let evidence = Evidence { base, history, calls: moment.calls, logs, end, may_fail };
                let crash = Crash { moment: Arc::clone(&moment), end, seed: self.random.any(), before: None };
                let recovered = self.recover(&crash, &evidence, depth);
                recovered.map_err(|error| in_plan(format!("{error}\nafter {end:?} at call {}", moment.calls)))?;
            }
        }
        Ok(())
    }

    /// Recovers, perhaps with a crash or a failing call in the middle of it, and goes on.
    fn recover(&mut self, crash: &Crash, evidence: &Evidence, depth: usize) -> Result<(), String> {
        match self.random.below(8) {
            0 => self.crash_in_recovery(crash, evidence)?,
            1 => self.fail_in_recovery(crash, evidence)?,
            _ => {}
        }
        let (base, recovered) = self.check(crash, evidence)?;
        if depth + 1 < DEPTH && self.random.below(4) == 0 {
            let plan = Plan::continuing(&mut self.random);
            return self.run(Some(recovered), plan, base, depth + 1);
        }
        Ok(())
    }

    /// Recovers in one go, and checks what comes of it.
    fn check(&mut self, crash: &Crash, evidence: &Evidence) -> Result<(Arc<Base>, Arc<Moment>), String> {
        self.tally.states += 1;
        let (crash, evidence, seed) = (crash.clone(), evidence.clone(), self.random.any());
        exec::scheduled(seed, move || {
            let disk = crash.disk();
            // After a failed sync the page cache may let go of what it has: that is no recovery's loss.
            let is_certain = evidence.end == End::PowerCut && crash.end == End::PowerCut || !evidence.may_fail;
            let before = crash.before.or_else(|| is_certain.then(|| Arc::new(recovery::before(&disk))));
            recovery::check(&disk, &evidence, before.as_deref(), &mut Random::new(seed))
        })
    }

    fn crash_in_recovery(&mut self, crash: &Crash, evidence: &Evidence) -> Result<(), String> {
        let (recovering, seed) = (crash.clone(), self.random.any());
        let (before, moments) = exec::scheduled(seed, move || {
            let disk = recovering.disk();
            let before = Arc::new(recovery::before(&disk));
            disk.keep_moments(RECOVERY_SHARE, seed);
            drop(run::open(&disk, &plan::options(&mut Random::new(seed))));
            (before, disk.take_moments())
        });
        for moment in moments {
            let (calls, end) = (moment.calls, self.any_end());
            let before = (evidence.end == End::PowerCut).then(|| Arc::clone(&before));
            let again = Crash { moment: Arc::new(moment), end, seed: self.random.any(), before };
            let checked = self.check(&again, &Evidence { end: end.max(evidence.end), ..evidence.clone() });
            checked.map_err(|error| format!("{error}\nafter {end:?} at call {calls} of the recovery"))?;
        }
        Ok(())
    }

    /// Has a call of a recovery fail; another must succeed, whatever happened in between.
    fn fail_in_recovery(&mut self, crash: &Crash, evidence: &Evidence) -> Result<(), String> {
        let (failing, seed) = (crash.clone(), self.random.any());
        let fault = plan::fault(&mut self.random, 30);
        let (struck, moment) =
            exec::scheduled(seed, move || recovery::fail(&failing.disk(), fault, &mut Random::new(seed)))?;
        self.tally.faulty_recoveries += u64::from(struck);
        let end = self.any_end();
        let again = Crash { moment: Arc::new(moment), end, seed: self.random.any(), before: None };
        let evidence = Evidence { end: end.max(evidence.end), may_fail: true, ..evidence.clone() };
        let checked = self.check(&again, &evidence);
        checked.map(drop).map_err(|error| format!("{error}\nafter {fault:?} in a recovery, then {end:?}"))
    }

    fn any_end(&mut self) -> End {
        if self.random.below(2) == 0 { End::Kill } else { End::PowerCut }
    }
}
