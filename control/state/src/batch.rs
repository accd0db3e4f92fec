//! Transactions that have nothing to do with each other, as one: a thousand pods that are given nodes need not be a thousand records of
//! the log.
//!
//! What stands together changes the world as its parts would, one after the other, if each of them holds: none asks about what another
//! writes. If one does not hold the whole does not, and then they are to be tried one by one.

use std::collections::HashSet;

use api::Key;

use crate::{Claim, Guard, Txn, Write};

/// Some transactions, in the order in which they were wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    txns: Vec<Txn>,
}

/// What the transactions of a batch are about.
#[derive(Default)]
struct Concerns {
    asked: HashSet<Key>,
    written: HashSet<Key>,
    claims: HashSet<Claim>,
}

// === impl Batch ===

impl Batch {
    /// All of these in batches of `most` at most, each of what follows one another and stands apart.
    pub fn gather(txns: impl IntoIterator<Item = Txn>, most: usize) -> Vec<Self> {
        let mut batches = Vec::new();
        let (mut batch, mut concerns) = (Self::default(), Concerns::default());
        for txn in txns {
            if batch.txns.len() >= most || !concerns.stand_apart_from(&txn) {
                batches.push(std::mem::take(&mut batch));
                concerns = Concerns::default();
            }
            concerns.add(&txn);
            batch.txns.push(txn);
        }
        batches.push(batch);
        batches.retain(|batch| !batch.txns.is_empty());
        batches
    }

    /// All of it in one.
    pub fn whole(&self) -> Txn {
        self.txns.iter().cloned().fold(Txn::default(), Txn::and)
    }

    /// One by one.
    pub fn into_parts(self) -> Vec<Txn> {
        self.txns
    }

    /// Whether it is only one.
    pub fn is_single(&self) -> bool {
        self.txns.len() == 1
    }
}

// === impl Concerns ===

impl Concerns {
    /// Whether it makes no difference to `txn` that the others happen before it, nor to them that it happens after them.
    fn stand_apart_from(&self, txn: &Txn) -> bool {
        let is_new = |write: &Write| !self.written.contains(key_of(write)) && !self.asked.contains(key_of(write));
        let is_apart = |guard: &Guard| match guard {
            Guard::Free(claim, by) => !self.claims.contains(claim) && !self.written.contains(by),
            Guard::Unchanged(key, _) | Guard::Absent(key) | Guard::Alive(key) => !self.written.contains(key),
        };
        txn.writes.iter().all(is_new) && txn.guards.iter().all(is_apart)
    }

    fn add(&mut self, txn: &Txn) {
        self.written.extend(txn.writes.iter().map(|write| key_of(write).clone()));
        for guard in &txn.guards {
            match guard {
                Guard::Free(claim, by) => {
                    self.claims.insert(*claim);
                    self.asked.insert(by.clone());
                }
                Guard::Unchanged(key, _) | Guard::Absent(key) | Guard::Alive(key) => {
                    self.asked.insert(key.clone());
                }
            }
        }
    }
}

fn key_of(write: &Write) -> &Key {
    match write {
        Write::Put(object) => object.key(),
        Write::Delete(key) => key,
    }
}

#[cfg(test)]
mod tests {
    use api::{Object, Revision, kinds};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Snapshot;

    fn key(number: u8) -> Key {
        kinds::POD.key("n", &number.to_string())
    }

    /// A pod of this name with this address.
    fn pod(number: u8, address: u8) -> Object {
        let metadata = json!({"name": number.to_string(), "namespace": "n", "uid": number.to_string()});
        let status = json!({"podIP": format!("10.42.0.{address}")});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status});
        Object::from_tree(kinds::POD, pod).expect("a pod")
    }

    fn claim(address: u8) -> Claim {
        Claim::PodIp([10, 42, 0, address].into())
    }

    fn txns() -> impl Strategy<Value = Vec<Txn>> {
        let guard = prop_oneof![
            (0..6_u8, 0..9_u64).prop_map(|(number, revision)| Guard::Unchanged(key(number), Revision(revision))),
            (0..6_u8).prop_map(|number| Guard::Absent(key(number))),
            (0..6_u8).prop_map(|number| Guard::Alive(key(number))),
        ];
        let given = (0..6_u8, 0..4_u8).prop_map(|(number, address)| {
            Txn::default().put(pod(number, address)).guard(Guard::Free(claim(address), key(number)))
        });
        let write = prop_oneof![given, (0..6_u8).prop_map(|number| Txn::default().remove(key(number)))];
        let txn = (prop::collection::vec(guard, 0..2), prop::collection::vec(write, 1..3));
        let txn = txn.prop_map(|(guards, writes)| {
            guards.into_iter().fold(writes.into_iter().fold(Txn::default(), Txn::and), Txn::guard)
        });
        prop::collection::vec(txn, 0..8)
    }

    proptest! {
        #[test]
        fn what_stands_together_does_what_its_parts_do(before in txns(), wanted in txns(), most in 1..5_usize) {
            let one_by_one = |world: Snapshot, txns: &[Txn]| {
                txns.iter().fold(world, |world, txn| world.apply(txn).map_or(world.clone(), |(next, _)| next))
            };
            let mut world = one_by_one(Snapshot::default(), &before);
            let batches = Batch::gather(wanted.clone(), most);
            prop_assert_eq!(&batches.iter().cloned().flat_map(Batch::into_parts).collect::<Vec<_>>(), &wanted);
            for batch in batches {
                let whole = batch.whole();
                let parts = batch.into_parts();
                prop_assert!(!parts.is_empty() && parts.len() <= most);
                let expected = one_by_one(world.clone(), &parts);
                if let Ok((next, _)) = world.apply(&whole) {
                    let objects = |world: &Snapshot| world.objects().cloned().collect::<Vec<_>>();
                    prop_assert_eq!(objects(&next), objects(&expected));
                }
                world = expected;
            }
        }
    }

    #[test]
    fn no_two_of_a_batch_are_given_the_same() {
        let given = |number, address| Txn::create(pod(number, address)).guard(Guard::Free(claim(address), key(number)));
        let sizes = |txns: Vec<Txn>| -> Vec<usize> {
            Batch::gather(txns, 9).into_iter().map(|batch| batch.into_parts().len()).collect()
        };
        assert_eq!(sizes(vec![given(1, 1), given(2, 2), given(3, 3)]), [3]);
        assert_eq!(sizes(vec![given(1, 1), given(2, 1), given(3, 3)]), [1, 2]);
        assert_eq!(sizes(vec![given(1, 1), given(1, 2)]), [1, 1]);
        assert_eq!(sizes(vec![given(1, 1), Txn::default().guard(Guard::Alive(key(1))).put(pod(2, 2))]), [1, 1]);
        assert_eq!(sizes(vec![Txn::default().guard(Guard::Alive(key(1))).put(pod(2, 2)), given(1, 1)]), [1, 1]);
        assert!(Batch::gather([given(1, 1)], 9)[0].is_single() && Batch::gather([], 9).is_empty());
    }
}
