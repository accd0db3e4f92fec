//! Whether what clients were told can have happened one after the other: linearizability, key by key.
//!
//! The search is Wing and Gong's, with Lowe's memory of what was tried. Every value is written once, so the state of a key is which
//! value it has. What nobody was told may have happened at any time since it was asked for, or never.

use std::collections::{BTreeMap, HashSet};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Put(u64),
    Remove,
    /// Only if this is there.
    Swap {
        expected: Option<u64>,
        new: u64,
    },
    Read,
}

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    /// What was expected is not there.
    Refused,
    Found(Option<u64>),
    /// Nothing.
    Unknown,
}

/// One operation, as a client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: String,
    pub(crate) asked_at: u64,
    pub(crate) told_at: u64,
    pub(crate) ask: Ask,
    pub(crate) told: Told,
}

/// Why a history cannot have happened.
pub(crate) fn linearizable(history: &[Operation]) -> Result<(), String> {
    let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        // A read of which nothing is known says nothing.
        if !(operation.ask == Ask::Read && operation.told == Told::Unknown) {
            by_key.entry(&operation.key).or_default().push(operation);
        }
    }
    for (key, operations) in by_key {
        let mut search = Search { operations: &operations, tried: HashSet::new(), deepest: Vec::new() };
        let mut done = vec![false; operations.len()];
        if !search.from(None, &mut done, &mut Vec::new()) {
            let stuck: Vec<_> = search.deepest.iter().map(|at| operations[*at]).collect();
            let left: Vec<_> = operations
                .iter()
                .enumerate()
                .filter(|(at, _)| !search.deepest.contains(at))
                .map(|(_, left)| left)
                .collect();
            return Err(format!("{key} is not linearizable: after {stuck:#?} nothing of {left:#?} can come next"));
        }
    }
    Ok(())
}

/// Whether an operation can happen in a state, and what is there then.
enum Possible {
    After(Option<u64>),
    Not,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    tried: HashSet<(Vec<bool>, Option<u64>)>,
    deepest: Vec<usize>,
}

impl Search<'_> {
    fn from(&mut self, state: Option<u64>, done: &mut Vec<bool>, order: &mut Vec<usize>) -> bool {
        let open = |at: &usize| !done[*at];
        // Nothing can come next that was asked for after something else was over.
        let over = (0..done.len()).filter(open).filter(|at| self.operations[*at].told != Told::Unknown);
        let Some(first_over) = over.map(|at| self.operations[at].told_at).min() else { return true };
        if !self.tried.insert((done.clone(), state)) {
            return false;
        }
        if order.len() > self.deepest.len() {
            self.deepest.clone_from(order);
        }
        let candidates: Vec<usize> =
            (0..done.len()).filter(open).filter(|at| self.operations[*at].asked_at <= first_over).collect();
        for at in candidates {
            let Possible::After(next) = self.operations[at].follow(state) else { continue };
            done[at] = true;
            order.push(at);
            if self.from(next, done, order) {
                return true;
            }
            order.pop();
            done[at] = false;
        }
        false
    }
}

impl Operation {
    /// What it makes of this state.
    fn follow(&self, state: Option<u64>) -> Possible {
        match (&self.ask, &self.told) {
            (Ask::Put(value), _) => Possible::After(Some(*value)),
            (Ask::Remove, _) => Possible::After(None),
            (Ask::Swap { expected, new }, Told::Done | Told::Unknown) if *expected == state => {
                Possible::After(Some(*new))
            }
            (Ask::Swap { expected, .. }, Told::Refused | Told::Found(_)) if *expected != state => {
                Possible::After(state)
            }
            (Ask::Read, Told::Found(found)) if *found == state => Possible::After(state),
            _ => Possible::Not,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(asked_at: u64, told_at: u64, ask: Ask, told: Told) -> Operation {
        Operation { key: "k".into(), asked_at, told_at, ask, told }
    }

    fn check(history: &[(u64, u64, Ask, Told)], expected: bool) {
        let history: Vec<_> =
            history.iter().cloned().map(|(asked, told_at, ask, told)| operation(asked, told_at, ask, told)).collect();
        assert_eq!(linearizable(&history).is_ok(), expected, "{history:?}");
    }

    #[test]
    fn what_can_have_happened_is_told_from_what_cannot() {
        use Ask::{Put, Read, Swap};
        use Told::{Done, Found, Refused, Unknown};
        check(&[(0, 1, Put(1), Done), (2, 3, Read, Found(Some(1)))], true);
        check(&[(0, 1, Put(1), Done), (2, 3, Read, Found(None))], false);
        check(&[(0, 9, Put(1), Done), (2, 3, Read, Found(None)), (4, 5, Read, Found(Some(1)))], true);
        check(&[(0, 9, Put(1), Done), (2, 3, Read, Found(Some(1))), (4, 5, Read, Found(None))], false);
        check(&[(0, 1, Put(1), Unknown), (8, 9, Read, Found(Some(1)))], true);
        check(&[(0, 1, Put(1), Unknown), (5, 6, Read, Found(Some(1))), (8, 9, Read, Found(None))], false);
        let swap = |expected, new| Swap { expected, new };
        check(&[(0, 1, Put(1), Done), (2, 5, swap(Some(1), 2), Done), (3, 6, swap(Some(1), 3), Done)], false);
        check(&[(0, 1, Put(1), Done), (2, 5, swap(Some(1), 2), Done), (3, 6, swap(Some(1), 3), Refused)], true);
        check(&[(0, 1, Put(1), Done), (2, 3, Put(2), Done), (4, 5, Read, Found(Some(1)))], false);
    }
}
