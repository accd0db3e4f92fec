//! A set of completion indexes, as a job's status tells it: `1,3-5`.

use std::fmt;

/// Indexes, kept as the ranges they form: a job may have a hundred thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// First and last of each range, in order, with a gap between any two.
    ranges: Vec<(u32, u32)>,
}

// === impl Indexes ===

impl Indexes {
    /// Those that a text names below `end`; what cannot be read names none.
    pub(super) fn read(text: &str, end: usize) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) else { continue };
            let Some(highest) = end.checked_sub(1).and_then(|highest| u32::try_from(highest).ok()) else { continue };
            if first <= last.min(highest) {
                indexes.insert_range(first, last.min(highest));
            }
        }
        indexes
    }

    pub(super) fn insert(&mut self, index: u32) {
        self.insert_range(index, index);
    }

    fn insert_range(&mut self, first: u32, last: u32) {
        let touches = |range: &(u32, u32)| range.0 <= last.saturating_add(1) && first <= range.1.saturating_add(1);
        let from = self.ranges.partition_point(|range| range.1.saturating_add(1) < first);
        let to = from + self.ranges[from..].iter().take_while(|range| touches(range)).count();
        let merged = self.ranges[from..to].iter().fold((first, last), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        self.ranges.splice(from..to, [merged]);
    }

    /// All of these, too.
    pub(super) fn extend(&mut self, others: &Self) {
        for (first, last) in &others.ranges {
            self.insert_range(*first, *last);
        }
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < index);
        self.ranges.get(at).is_some_and(|range| range.0 <= index)
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    /// How many are in both.
    pub(super) fn shared_with(&self, other: &Self) -> usize {
        let shared = |one: &(u32, u32)| -> usize {
            let overlaps = other.ranges.iter().map(|it| (it.0.max(one.0), it.1.min(one.1)));
            overlaps.filter(|(first, last)| first <= last).map(|(first, last)| (last - first) as usize + 1).sum()
        };
        self.ranges.iter().map(shared).sum()
    }

    /// Those below `end` that are not in it, in order.
    pub(super) fn missing(&self, end: usize) -> impl Iterator<Item = u32> {
        let starts = [0].into_iter().chain(self.ranges.iter().map(|range| range.1.saturating_add(1)));
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let ends = self.ranges.iter().map(|range| range.0).chain([end]);
        starts.zip(ends).flat_map(move |(start, stop)| start..stop.min(end))
    }
}

impl FromIterator<u32> for Indexes {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        indexes.into_iter().fold(Self::default(), |mut all, index| {
            all.insert(index);
            all
        })
    }
}

/// Two neighbours are listed, more of them are a range, as Kubernetes writes it.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn they_are_told_as_ranges() {
        let check = |text: &str, expected: &str| assert_eq!(Indexes::read(text, 10).to_string(), expected, "{text}");
        check("", "");
        check("3,1,2", "1-3");
        check("1,2", "1,2");
        check("0,2-4,7", "0,2-4,7");
        check("8-20", "8,9");
        check("12,x", "");
    }

    proptest! {
        #[test]
        fn they_are_a_set(indexes in proptest::collection::vec(0_u32..24, 0..40), others in proptest::collection::vec(0_u32..24, 0..9)) {
            let model: BTreeSet<u32> = indexes.iter().copied().collect();
            let set: Indexes = indexes.iter().copied().collect();
            prop_assert_eq!(set.len(), model.len());
            prop_assert!((0..30).all(|index| set.contains(index) == model.contains(&index)));
            prop_assert_eq!(set.missing(24).collect::<Vec<_>>(), (0..24).filter(|it| !model.contains(it)).collect::<Vec<_>>());
            prop_assert_eq!(&Indexes::read(&set.to_string(), 24), &set);
            let other: BTreeSet<u32> = others.iter().copied().collect();
            let others: Indexes = others.into_iter().collect();
            prop_assert_eq!(set.shared_with(&others), model.intersection(&other).count());
            let mut both = set;
            both.extend(&others);
            prop_assert_eq!(both, model.union(&other).copied().collect::<Indexes>());
        }
    }
}
