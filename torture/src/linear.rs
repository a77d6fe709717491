//! Whether what concurrent callers were told can have happened one call at a time.
//!
//! A history is linearizable if its calls can be put in an order in which each returns what it would return alone, and
//! which no two calls contradict of which one returned before the other began. It is if it is for each key (M. Herlihy
//! and J. Wing, "Linearizability: a correctness condition for concurrent objects", 1990), and of one key there are few
//! calls at a time: so the search is the plain one of J. Wing and C. Gong, "Testing and verifying concurrent objects"
//! (1993), which tries whatever may come next, and after G. Lowe, "Testing for linearizability" (2017), never goes on twice
//! from the same set of calls with the same value.
//!
//! A call that did not return, because of a crash or an error, happened at any moment since it began, or not at all; but
//! nothing happens across a crash. It ends when all calls that returned are in order: the checker is exact.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// What a call did, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets the key to a value, known by a number of its own.
    Set(u64),
    /// Reads the key and sets it, in one transaction.
    Swap {
        /// The value from now on.
        new: u64,
        /// What there was before; `None` if the call did not return.
        seen: Option<Option<u64>>,
    },
    /// Deletes the key; whether it was there, if the call returned.
    Del {
        /// `None` if the call did not return.
        found: Option<bool>,
    },
    /// Reads the key: its value, if it is there. Only of calls that returned.
    Get(Option<u64>),
}

/// A call. Moments are numbers from one counter, so no two are the same.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Of what key.
    pub key: u64,
    /// When it began.
    pub call: u64,
    /// When it returned; `None` if it did not, or with an error.
    pub ret: Option<u64>,
    /// What it did.
    pub op: Op,
}

/// A key whose calls have no order that explains them.
#[derive(Debug)]
pub struct Violation {
    key: u64,
    /// In the order in which they began.
    calls: Vec<Event>,
    crashes: Vec<u64>,
    /// As far as the search came.
    longest: Vec<usize>,
}

/// An error unless the history is linearizable. `crashes` are the moments at which all calls were cut off.
pub fn check(history: &[Event], crashes: &[u64]) -> Result<(), Violation> {
    let mut keys: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for event in history {
        keys.entry(event.key).or_default().push(*event);
    }
    for (key, mut calls) in keys {
        calls.sort_by_key(|event| event.call);
        if let Err(longest) = Search::new(&calls, crashes).run() {
            return Err(Violation { key, calls, crashes: crashes.to_vec(), longest });
        }
    }
    Ok(())
}

/// The value of a key.
type Value = Option<u64>;

/// The value after a call on `value`, if the call can have returned what it did.
fn after(op: Op, value: Value) -> Option<Value> {
    match op {
        Op::Set(new) => Some(Some(new)),
        Op::Swap { new, seen } => seen.is_none_or(|seen| seen == value).then_some(Some(new)),
        Op::Del { found } => (found.is_none() || found == Some(value.is_some())).then_some(None),
        Op::Get(seen) => (seen == value).then_some(value),
    }
}

/// A set of calls.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn contains(&self, call: usize) -> bool {
        self.0[call / 64] >> (call % 64) & 1 == 1
    }

    fn flip(&mut self, call: usize) {
        self.0[call / 64] ^= 1 << (call % 64);
    }
}

struct Search<'h> {
    /// In the order in which they began.
    calls: &'h [Event],
    /// Until when each can have happened: when it returned, or when a crash cut it off.
    ends: Vec<u64>,
    /// The calls that are in order by now.
    ordered: Set,
    /// What was tried, with the value then.
    tried: HashSet<(Set, Value)>,
}

/// Where the search stands: a call is in order, and others may be next.
struct Step {
    call: Option<usize>,
    value: Value,
    /// No earlier than this: when the last of the calls in order began.
    now: u64,
    /// All calls before this one are in order.
    first: usize,
    next: Vec<usize>,
}

impl<'h> Search<'h> {
    fn new(calls: &'h [Event], crashes: &[u64]) -> Search<'h> {
        let crash_after = |call| crashes.iter().copied().filter(|&crash| crash > call).min().unwrap_or(u64::MAX);
        let ends = calls.iter().map(|event| event.ret.unwrap_or_else(|| crash_after(event.call))).collect();
        let ordered = Set(vec![0; calls.len().div_ceil(64)].into());
        Search { calls, ends, ordered, tried: HashSet::new() }
    }

    /// An error with the longest order that was found.
    fn run(mut self) -> Result<(), Vec<usize>> {
        let mut longest = Vec::new();
        let mut steps = vec![self.step(None, None, 0, 0)];
        let mut missing = self.calls.iter().filter(|event| event.ret.is_some()).count();
        while missing > 0 {
            let Some(step) = steps.last_mut() else { return Err(longest) };
            let Some(call) = step.next.pop() else {
                if let Some(call) = step.call {
                    self.ordered.flip(call);
                    missing += usize::from(self.calls[call].ret.is_some());
                }
                steps.pop();
                continue;
            };
            let Some(value) = after(self.calls[call].op, step.value) else { continue };
            let (now, first) = (step.now.max(self.calls[call].call), step.first);
            self.ordered.flip(call);
            if !self.tried.insert((self.ordered.clone(), value)) {
                self.ordered.flip(call);
                continue;
            }
            missing -= usize::from(self.calls[call].ret.is_some());
            steps.push(self.step(Some(call), value, now, first));
            if steps.len() > longest.len() + 1 {
                longest.clear();
                longest.extend(steps.iter().filter_map(|step| step.call));
            }
        }
        Ok(())
    }

    /// The calls that may come next, the one that is to be tried first at the end, are those that did not have to happen
    /// before now. Nor is there a point in one that began when another was over that is not in order yet.
    fn step(&self, call: Option<usize>, value: Value, now: u64, first: usize) -> Step {
        let first = (first..self.calls.len()).find(|&at| !self.ordered.contains(at)).unwrap_or(self.calls.len());
        let (mut next, mut over) = (Vec::new(), u64::MAX);
        for (at, event) in self.calls.iter().enumerate().skip(first).filter(|(at, _)| !self.ordered.contains(*at)) {
            if event.call > over {
                break;
            }
            if event.ret.is_some() {
                over = over.min(self.ends[at]);
            }
            if now < self.ends[at] {
                next.push(at);
            }
        }
        // What returned first is the likeliest to have happened first.
        next.sort_by_key(|&at| std::cmp::Reverse(self.ends[at]));
        Step { call, value, now, first, next }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}: its calls have no order that explains what they were told:", self.key)?;
        let mut crashes = self.crashes.iter().peekable();
        for (at, event) in self.calls.iter().enumerate() {
            while let Some(crash) = crashes.next_if(|&&crash| crash < event.call) {
                writeln!(f, "        {crash:>8}  crash")?;
            }
            let place = self.longest.iter().position(|&call| call == at);
            let place = place.map_or_else(|| "-".to_owned(), |place| (place + 1).to_string());
            let ret = event.ret.map_or_else(|| "?".to_owned(), |ret| ret.to_string());
            writeln!(f, "  {place:>4}  {:>8} to {ret:>8}  {}", event.call, event.op)?;
        }
        write!(f, "The first column is the longest order that was found.")
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Set(value) => write!(f, "set {value}"),
            Op::Swap { new, seen: None } => write!(f, "set {new} in a transaction"),
            Op::Swap { new, seen: Some(None) } => write!(f, "set {new} in a transaction: after nothing"),
            Op::Swap { new, seen: Some(Some(seen)) } => write!(f, "set {new} in a transaction: after {seen}"),
            Op::Del { found: None } => write!(f, "del"),
            Op::Del { found: Some(true) } => write!(f, "del: found"),
            Op::Del { found: Some(false) } => write!(f, "del: not found"),
            Op::Get(None) => write!(f, "get: nothing"),
            Op::Get(Some(value)) => write!(f, "get: {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kvwal::vfs::sim::Random;

    use super::*;

    const DEL: Op = Op::Del { found: None };
    const FOUND: Op = Op::Del { found: Some(true) };
    const NOT_FOUND: Op = Op::Del { found: Some(false) };
    const NOTHING: Op = Op::Get(None);

    fn set(value: u64) -> Op {
        Op::Set(value)
    }

    fn get(value: u64) -> Op {
        Op::Get(Some(value))
    }

    /// Calls of one key, by when they began and returned; 0 if they did not.
    fn calls(history: &[(u64, u64, Op)]) -> Vec<Event> {
        history.iter().map(|&(call, ret, op)| Event { key: 1, call, ret: (ret > 0).then_some(ret), op }).collect()
    }

    fn is_linearizable(history: &[(u64, u64, Op)], crashes: &[u64]) -> bool {
        check(&calls(history), crashes).is_ok()
    }

    #[test]
    fn one_call_after_the_other() {
        assert!(is_linearizable(&[], &[]));
        assert!(is_linearizable(
            &[(1, 2, NOTHING), (3, 4, set(7)), (5, 6, get(7)), (7, 8, FOUND), (9, 10, NOTHING)],
            &[]
        ));
        assert!(!is_linearizable(&[(1, 2, set(7)), (3, 4, NOTHING)], &[]), "lost");
        assert!(!is_linearizable(&[(1, 2, set(7)), (3, 4, set(8)), (5, 6, get(7))], &[]), "stale");
        assert!(!is_linearizable(&[(1, 2, get(7))], &[]), "never set");
        assert!(!is_linearizable(&[(1, 2, get(7)), (3, 4, set(7))], &[]), "before it was set");
    }

    #[test]
    fn a_read_beside_a_write_sees_either() {
        for seen in [NOTHING, get(7)] {
            assert!(is_linearizable(&[(1, 4, set(7)), (2, 3, seen)], &[]));
        }
        assert!(is_linearizable(&[(1, 6, set(7)), (2, 3, NOTHING), (4, 5, get(7))], &[]));
        assert!(!is_linearizable(&[(1, 6, set(7)), (2, 3, get(7)), (4, 5, NOTHING)], &[]), "new, then old");
    }

    #[test]
    fn readers_agree_on_the_order_of_writes() {
        let writes = [(1, 10, set(1)), (2, 11, set(2))];
        let reads = |first, second, third| [(20, 21, first), (22, 23, second), (24, 25, third)];
        assert!(is_linearizable(&[&writes[..], &reads(get(1), get(1), get(1))].concat(), &[]));
        assert!(!is_linearizable(&[&writes[..], &reads(get(1), get(2), get(2))].concat(), &[]));
    }

    #[test]
    fn a_key_is_found_by_one_of_two_that_delete_it() {
        let history = |first, second| [(1, 2, set(7)), (3, 6, first), (4, 5, second)];
        assert!(is_linearizable(&history(FOUND, NOT_FOUND), &[]));
        assert!(is_linearizable(&history(NOT_FOUND, FOUND), &[]));
        assert!(!is_linearizable(&history(FOUND, FOUND), &[]));
        assert!(!is_linearizable(&history(NOT_FOUND, NOT_FOUND), &[]));
    }

    #[test]
    fn of_two_that_read_and_set_the_later_sees_the_earlier() {
        let swap = |new, seen| Op::Swap { new, seen: Some(seen) };
        let history = |first, second| [(1, 2, set(7)), (3, 6, first), (4, 5, second)];
        assert!(is_linearizable(&history(swap(8, Some(7)), swap(9, Some(8))), &[]));
        assert!(is_linearizable(&history(swap(8, Some(9)), swap(9, Some(7))), &[]));
        assert!(!is_linearizable(&history(swap(8, Some(7)), swap(9, Some(7))), &[]), "one of them is lost");
        assert!(!is_linearizable(&history(swap(8, Some(7)), swap(9, None)), &[]));
        assert!(is_linearizable(&[(1, 0, Op::Swap { new: 8, seen: None }), (2, 3, NOTHING), (4, 5, get(8))], &[]));
    }

    #[test]
    fn what_did_not_return_happened_at_any_later_time_or_never() {
        assert!(is_linearizable(&[(1, 0, set(7)), (2, 3, NOTHING), (4, 5, NOTHING)], &[]));
        assert!(is_linearizable(&[(1, 0, set(7)), (2, 3, NOTHING), (4, 5, get(7))], &[]));
        assert!(!is_linearizable(&[(1, 0, set(7)), (2, 3, get(7)), (4, 5, NOTHING)], &[]), "happened and did not");
        assert!(is_linearizable(&[(1, 0, set(7)), (2, 0, DEL), (3, 4, get(7)), (5, 6, NOTHING)], &[]));
        assert!(!is_linearizable(&[(1, 2, NOTHING), (3, 4, get(7)), (5, 0, set(7))], &[]), "before it began");
    }

    #[test]
    fn a_crash_takes_nothing_that_was_acknowledged_and_leaves_nothing_open() {
        assert!(is_linearizable(&[(1, 2, set(7)), (6, 7, get(7))], &[5]));
        assert!(!is_linearizable(&[(1, 2, set(7)), (6, 7, NOTHING)], &[5]), "acknowledged and lost");
        assert!(!is_linearizable(&[(1, 0, set(7)), (2, 3, get(7)), (6, 7, NOTHING)], &[5]), "seen and lost");
        for recovered in [get(7), NOTHING] {
            assert!(is_linearizable(&[(1, 0, set(7)), (6, 7, recovered), (8, 9, recovered)], &[5]));
        }
        let late = [(1, 0, set(7)), (6, 7, NOTHING), (8, 9, get(7))];
        assert!(is_linearizable(&late, &[]));
        assert!(!is_linearizable(&late, &[5]), "it came back after the crash");
        assert!(is_linearizable(&late, &[10]));
    }

    #[test]
    fn keys_are_checked_each_for_itself() {
        let mut history = calls(&[(1, 2, set(7)), (3, 4, get(7))]);
        history.push(Event { key: 2, call: 5, ret: Some(6), op: NOTHING });
        assert!(check(&history, &[]).is_ok());
        history.push(Event { key: 2, call: 7, ret: Some(8), op: get(7) });
        let violation = check(&history, &[]).unwrap_err().to_string();
        let lines: Vec<_> = violation.lines().collect();
        assert_eq!(lines[0], "key 2: its calls have no order that explains what they were told:");
        assert_eq!(lines[1..3], ["     1         5 to        6  get: nothing", "     -         7 to        8  get: 7"]);
    }

    /// Callers that take turns at random; each call happens at a moment between its beginning and its end.
    /// Moments are even, for others to fall between them.
    fn linearizable(random: &mut Random, callers: usize, count: usize) -> Vec<Event> {
        let (mut events, mut value, mut now) = (Vec::<Event>::new(), None, 0);
        // Of each caller: its call, and whether it has happened.
        let mut open: Vec<Option<(usize, bool)>> = vec![None; callers];
        while events.len() < count {
            now += 2;
            let caller = random.below(callers);
            open[caller] = match open[caller] {
                None => {
                    let op = [Op::Set(now), Op::Swap { new: now, seen: None }, DEL, NOTHING][random.below(4)];
                    events.push(Event { key: 1, call: now, ret: None, op });
                    Some((events.len() - 1, false))
                }
                Some((at, false)) => {
                    let op = &mut events[at].op;
                    match op {
                        Op::Set(new) => value = Some(*new),
                        Op::Swap { new, seen } => *seen = Some(value.replace(*new)),
                        Op::Del { found } => *found = Some(value.take().is_some()),
                        Op::Get(seen) => *seen = value,
                    }
                    Some((at, true))
                }
                Some((at, true)) => {
                    events[at].ret = Some(now);
                    None
                }
            };
        }
        // Nobody knows what a call saw that did not return.
        events.retain(|event| event.ret.is_some() || !matches!(event.op, Op::Get(_)));
        for event in events.iter_mut().filter(|event| event.ret.is_none()) {
            match &mut event.op {
                Op::Del { found } => *found = None,
                Op::Swap { seen, .. } => *seen = None,
                _ => {}
            }
        }
        events
    }

    /// Tries every order, without a thought.
    fn has_an_order(calls: &[Event], crashes: &[u64], order: &mut Vec<usize>, value: Value) -> bool {
        let is_left = |at: &usize| !order.contains(at);
        let left: Vec<usize> = (0..calls.len()).filter(is_left).collect();
        if left.iter().all(|&at| calls[at].ret.is_none()) {
            return true;
        }
        left.iter().any(|&at| {
            let call = &calls[at];
            let too_early = left.iter().any(|&other| calls[other].ret.is_some_and(|ret| ret < call.call));
            let cut_off = crashes.iter().any(|&crash| {
                call.ret.is_none() && call.call < crash && order.iter().any(|&other| calls[other].call > crash)
            });
            if too_early || cut_off {
                return false;
            }
            let Some(value) = after(call.op, value) else { return false };
            order.push(at);
            let has = has_an_order(calls, crashes, order, value);
            order.pop();
            has
        })
    }

    #[test]
    fn it_agrees_with_a_search_of_every_order() {
        let mut random = Random::new(1);
        let mut verdicts = [0; 2];
        for _ in 0..4000 {
            let mut history = linearizable(&mut random, 3, 7);
            assert!(check(&history, &[]).is_ok(), "{history:?}");
            // Some that returned did not, and one saw something else: what it will come to, who knows.
            history.iter_mut().filter(|event| !matches!(event.op, Op::Get(_))).for_each(|event| {
                if random.below(4) == 0 {
                    event.ret = None;
                }
            });
            let values: Vec<_> = history.iter().filter_map(|event| after(event.op, None).flatten()).collect();
            for event in &mut history {
                if let Op::Get(seen) = &mut event.op
                    && random.below(2) == 0
                {
                    *seen = values.get(random.below(values.len() + 1)).copied();
                }
            }
            let crashes = [random.any() % 20 * 2 + 1];
            let expected = has_an_order(&history, &crashes, &mut Vec::new(), None);
            assert_eq!(check(&history, &crashes).is_ok(), expected, "{history:?}, crash at {crashes:?}");
            verdicts[usize::from(expected)] += 1;
        }
        assert!(verdicts.iter().all(|&count| count > 500), "{verdicts:?}");
    }

    #[test]
    fn a_long_history_takes_no_longer_for_it() {
        let mut history = linearizable(&mut Random::new(2), 8, 4000);
        assert!(check(&history, &[]).is_ok());
        let last = history.iter_mut().rfind(|event| matches!(event.op, Op::Get(_))).unwrap();
        last.op = get(u64::MAX);
        assert!(check(&history, &[]).is_err());
    }
}
