//! How long commands take, in histograms of fixed buckets.

/// Buckets for each doubling, so that a bucket's width is at most an eighth of its times.
const PER_DOUBLING: u64 = 8;
/// Bits of a number below [`PER_DOUBLING`].
const LINEAR_BITS: u32 = PER_DOUBLING.trailing_zeros();
/// The last bucket is for a minute and more.
const BUCKETS: usize = bucket_of(64_000_000) + 1;

/// Counts of times in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

/// The bucket of a time: up to 15 each for itself, then 8 for each doubling.
const fn bucket_of(micros: u64) -> usize {
    if micros < PER_DOUBLING {
        return micros as usize;
    }
    let shift = micros.ilog2() - LINEAR_BITS;
    (shift as u64 * PER_DOUBLING + (micros >> shift)) as usize
}

/// The longest time of a bucket.
const fn longest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PER_DOUBLING {
        return bucket;
    }
    let shift = bucket / PER_DOUBLING - 1;
    ((bucket % PER_DOUBLING + PER_DOUBLING + 1) << shift) - 1
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a time, so many times.
    pub fn record(&mut self, micros: u64, times: u64) {
        self.counts[bucket_of(micros).min(BUCKETS - 1)] += times;
        self.count += times;
        self.sum = self.sum.saturating_add(micros.saturating_mul(times));
        self.max = self.max.max(micros);
    }

    /// Adds another.
    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many have been counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All times together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The time that so many of a thousand do not exceed, or at most an eighth more.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        let bucket = self.counts.iter().position(reaches).unwrap_or(BUCKETS - 1);
        longest_of(bucket).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_that_is_at_most_an_eighth_wide() {
        let mut last = 0;
        for micros in (0..5000).chain((5000..64_000_000).step_by(9973)) {
            let bucket = bucket_of(micros);
            assert!(bucket == last || bucket == last + 1 || micros >= 5000, "{micros}");
            last = bucket;
            assert!(longest_of(bucket) >= micros, "{micros} is beyond its bucket");
            assert!(longest_of(bucket) <= micros + micros / 8, "{micros} is in a wide bucket");
            assert!(bucket == 0 || longest_of(bucket - 1) < micros, "{micros} fits one bucket less");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(500), histogram.max(), histogram.count()), (0, 0, 0));
        (1..=1000).for_each(|micros| histogram.record(micros, 1));
        for (per_mille, exact) in [(500, 500), (950, 950), (990, 990), (1000, 1000)] {
            let quantile = histogram.quantile(per_mille);
            assert!((exact..=exact + exact / 8).contains(&quantile), "{per_mille}: {quantile}");
        }
        assert_eq!((histogram.max(), histogram.count(), histogram.sum()), (1000, 1000, 500_500));
        // Beyond the last bucket the longest is known still.
        histogram.record(u64::MAX, 1);
        assert_eq!((histogram.max(), histogram.quantile(1000)), (u64::MAX, longest_of(BUCKETS - 1)));
    }
}
