//! Which pods are the set's own: adoption and release.

use api::{Key, Object, kinds};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use state::{Guard, Snapshot, Txn};

use crate::edit::replaced;
use crate::{owners, selector};

/// The sets that would take a pod without a manager.
pub(super) fn candidates(pod: &Object, view: &Snapshot) -> Vec<Key> {
    let sets = view.list_in(kinds::REPLICA_SET, pod.key().namespace());
    let takes = |object: &&Object| {
        object.decode::<ReplicaSet>().is_ok_and(|set| {
            set.spec.as_ref().is_some_and(|spec| selector::read(&spec.selector).matches(&pod.meta().labels))
        })
    };
    sets.filter(takes).map(|set| set.key().clone()).collect()
}

/// What must change for the set to manage exactly the pods it matches.
pub(super) fn claims(object: &Object, set: &ReplicaSet, view: &Snapshot) -> Vec<Txn> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let selector = selector::read(&spec.selector);
    let matches = |pod: &Object| selector.matches(&pod.meta().labels);
    let owned = view.owned_by(&object.meta().uid).filter(|it| it.key().kind() == kinds::POD);
    let strangers = owned.filter(|pod| owners::is_managed_by(pod.meta(), object) && !matches(pod));
    let mut txns: Vec<Txn> = strangers.map(|pod| release(pod, object)).collect();
    if !object.meta().is_terminating() {
        let free = |pod: &&Object| pod.meta().controller().is_none() && !pod.meta().is_terminating();
        let alone = view.list_in(kinds::POD, object.key().namespace()).filter(free).filter(|pod| matches(pod));
        let alone = alone.filter(|pod| pod.decode::<Pod>().is_ok_and(|pod| !crate::pods::has_ended(&pod)));
        txns.extend(alone.map(|pod| adopt(pod, object)));
    }
    txns
}

fn release(pod: &Object, set: &Object) -> Txn {
    replaced::<Pod>(pod, |pod| {
        if let Some(references) = &mut pod.metadata.owner_references {
            references.retain(|reference| reference.uid != *set.meta().uid);
        }
        pod.metadata.owner_references.take_if(|references| references.is_empty());
    })
}

fn adopt(pod: &Object, set: &Object) -> Txn {
    let adopted = replaced::<Pod>(pod, |pod| {
        let references = pod.metadata.owner_references.get_or_insert_default();
        references.retain(|reference| reference.uid != *set.meta().uid);
        references.push(owners::controlled_by("apps/v1", set));
    });
    adopted.guard(Guard::Alive(set.key().clone()))
}
