//! The histogram that openraft keeps its statistics in, without tables.
//!
//! openraft counts batch sizes in the crate `base2histogram`, which at its first use builds tables for sixteen resolutions, of
//! which openraft uses one: 27 MB that stay for good, nearly half of what a whole idle cluster took. This crate has the part
//! of its interface that openraft names, and takes its place in the workspace (`[patch.crates-io]`). A bucket's bounds are
//! computed from its number, so that there is nothing to build.
//!
//! Buckets grow with the numbers in them: each power of two is cut into [`CUTS`], so a percentile is at most a quarter low.

use std::fmt;
use std::marker::PhantomData;

/// Buckets a power of two is cut into.
const CUTS: u64 = 1 << CUT_BITS;
const CUT_BITS: u32 = 2;

/// Numbers below [`CUTS`] have a bucket each; every later power of two has [`CUTS`].
const BUCKETS: usize = ((u64::BITS - CUT_BITS + 1) as u64 * CUTS) as usize;

/// Counts of numbers, by magnitude. `T` is what the replaced crate lets one attach to spans of time; nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64]>,
    samples: u64,
    attached: PhantomData<T>,
}

/// The usual percentiles of a histogram, each the least number of the bucket it falls into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "percentiles by their numbers")]
pub struct PercentileStats {
    /// How many numbers were counted.
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

/// Several histograms, to be shown under one another.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    rows: Vec<(String, Histogram)>,
}

// === impl Histogram ===

impl<T> Histogram<T> {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into(), samples: 0, attached: PhantomData }
    }

    /// Counts a number.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a number so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        self.counts[bucket(value)] += times;
        self.samples += times;
    }

    /// How many numbers were counted.
    pub fn total(&self) -> u64 {
        self.samples
    }

    /// The number that this share of all counted is not above; 0 where nothing was counted.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = ((self.samples as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, least)
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.samples,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The bucket of a number: its power of two, and the [`CUT_BITS`] that follow the first.
fn bucket(value: u64) -> usize {
    let power = value.checked_ilog2().unwrap_or(0);
    if power < CUT_BITS {
        return value as usize;
    }
    let group = power - CUT_BITS;
    let cut = (value >> group) & (CUTS - 1);
    (u64::from(group + 1) * CUTS + cut) as usize
}

/// The least number of a bucket.
fn least(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / CUTS).checked_sub(1) {
        None => bucket,
        Some(group) => (CUTS + bucket % CUTS) << group,
    }
}

// === impl PercentileStats ===

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, .. } = self;
        write!(f, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}")
    }
}

// === impl AsciiChart ===

impl AsciiChart {
    /// Nothing to show.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also shows this one.
    #[allow(clippy::should_implement_trait, reason = "the name that openraft calls")]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.rows.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.rows {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_those_of_the_numbers_counted() {
        let mut histogram: Histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        for value in 1..=1000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p10, stats.p50, stats.p99), (1000, 1, 96, 448, 896));
    }

    proptest! {
        #[test]
        fn a_number_is_in_a_bucket_that_begins_at_most_a_quarter_below(value in any::<u64>()) {
            let begins = least(bucket(value));
            prop_assert!(begins <= value);
            prop_assert!(value - begins <= begins / CUTS);
            prop_assert_eq!(bucket(begins), bucket(value));
            prop_assert!(bucket(value) < BUCKETS);
        }
    }
}
