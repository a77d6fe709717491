//! Power cuts and kills on a simulated disk, at every call that the store makes.

use crate::support::{self, Model, open, workload};
use kvwal::vfs::sim::SimDisk;

/// Runs the workload until the power goes off at a call; `None` when it came to its end before.
fn run_until_power_off(call: u64) -> Option<(SimDisk, Model)> {
    let disk = SimDisk::new(call);
    disk.power_off_at(call);
    let mut model = Model::default();
    model.run(&disk, &workload()).err().map(|_| (disk, model))
}

#[test]
fn power_cut_at_every_call() {
    let mut calls = 0;
    while let Some((disk, model)) = run_until_power_off(calls) {
        for seed in 0..12 {
            let (disk, mut model) = (disk.fork(), model.clone());
            disk.crash(seed);
            model.check_and_go_on(&disk, &format!("power cut at call {calls}, seed {seed}"));
        }
        calls += 1;
    }
    assert!(calls > 120, "the workload makes many calls: {calls}");
}

#[test]
fn kill_at_every_call() {
    let mut calls = 0;
    while let Some((disk, mut model)) = run_until_power_off(calls) {
        disk.kill();
        model.check_and_go_on(&disk, &format!("kill at call {calls}"));
        calls += 1;
    }
}

/// Ends the workload at every call in turn, and the recovery from that at every call in turn. There are thousands of
/// those, so that one power cut at each, with a seed of its own, will do.
fn power_cut_in_recovery_after(end: impl Fn(&SimDisk, u64)) {
    let cuts = if support::is_thorough() { 16 } else { 1 };
    let mut states = 0;
    for calls in 0.. {
        let Some((disk, model)) = run_until_power_off(calls) else { break };
        end(&disk, calls);
        for recovery_calls in 0.. {
            let (disk, model) = (disk.fork(), model.clone());
            disk.power_off_at(recovery_calls);
            if open(&disk).is_ok() {
                break;
            }
            for _ in 0..cuts {
                let (disk, mut model) = (disk.fork(), model.clone());
                disk.crash(states);
                let context = format!("ended at call {calls}, power cut at {recovery_calls}, {states}");
                model.check_and_go_on(&disk, &context);
                states += 1;
            }
        }
    }
    assert!(states > 2000, "many states were tried: {states}");
}

#[test]
fn power_cut_at_every_call_of_the_recovery_from_a_power_cut() {
    power_cut_in_recovery_after(|disk, seed| disk.crash(seed));
}

#[test]
fn power_cut_at_every_call_of_the_recovery_from_a_kill() {
    power_cut_in_recovery_after(|disk, _| disk.kill());
}

#[test]
fn kill_at_every_call_then_the_store_goes_on_then_the_power_fails() {
    for calls in 0.. {
        let Some((disk, mut model)) = run_until_power_off(calls) else { break };
        disk.kill();
        model.check_and_go_on(&disk, &format!("killed at call {calls}"));
        for seed in 0..4 {
            let (disk, mut model) = (disk.fork(), model.clone());
            disk.crash(seed);
            model.check_and_go_on(&disk, &format!("killed at call {calls}, then a power cut, seed {seed}"));
        }
    }
}
