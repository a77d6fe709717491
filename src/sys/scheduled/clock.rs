//! Time that passes with the steps of the schedule.

use std::ops::Sub;
use std::time::Duration;

/// How long a step takes: so that a writer who comes back may just be in time for a leader who waits for it, or not.
const STEP: Duration = Duration::from_micros(10);

/// As [`std::time::Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// The present step.
    pub fn now() -> Instant {
        Instant(STEP * u32::try_from(shuttle::current::context_switches()).unwrap_or(u32::MAX))
    }

    /// How long ago it was.
    pub fn elapsed(&self) -> Duration {
        Instant::now() - *self
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
