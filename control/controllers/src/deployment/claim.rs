//! Which ReplicaSets are the deployment's own: adoption and release.

use api::{Key, Object, kinds};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use state::{Guard, Snapshot, Txn};

use crate::edit::replaced;
use crate::{owners, selector};

/// The deployments that would take a set without a manager.
pub(super) fn candidates(set: &Object, view: &Snapshot) -> Vec<Key> {
    let deployments = view.list_in(kinds::DEPLOYMENT, set.key().namespace());
    let takes = |object: &&Object| {
        object.decode::<Deployment>().is_ok_and(|deployment| {
            deployment.spec.as_ref().is_some_and(|spec| selector::read(&spec.selector).matches(&set.meta().labels))
        })
    };
    deployments.filter(takes).map(|deployment| deployment.key().clone()).collect()
}

/// What must change for the deployment to manage exactly the sets it matches.
pub(super) fn claims(deployment: &Object, selector: &LabelSelector, view: &Snapshot) -> Vec<Txn> {
    let selector = selector::read(selector);
    let matches = |set: &Object| selector.matches(&set.meta().labels);
    let owned = view.owned_by(&deployment.meta().uid).filter(|it| it.key().kind() == kinds::REPLICA_SET);
    let strangers = owned.filter(|set| owners::is_managed_by(set.meta(), deployment) && !matches(set));
    let mut txns: Vec<Txn> = strangers.map(|set| release(set, deployment)).collect();
    if !deployment.meta().is_terminating() {
        let free = |set: &&Object| set.meta().controller().is_none() && !set.meta().is_terminating();
        let alone = view.list_in(kinds::REPLICA_SET, deployment.key().namespace()).filter(free);
        txns.extend(alone.filter(|set| matches(set)).map(|set| adopt(set, deployment)));
    }
    txns
}

fn release(set: &Object, deployment: &Object) -> Txn {
    replaced::<ReplicaSet>(set, |set| {
        if let Some(references) = &mut set.metadata.owner_references {
            references.retain(|reference| reference.uid != *deployment.meta().uid);
        }
        set.metadata.owner_references.take_if(|references| references.is_empty());
    })
}

fn adopt(set: &Object, deployment: &Object) -> Txn {
    let adopted = replaced::<ReplicaSet>(set, |set| {
        let references = set.metadata.owner_references.get_or_insert_default();
        references.retain(|reference| reference.uid != *deployment.meta().uid);
        references.push(owners::controlled_by("apps/v1", deployment));
    });
    adopted.guard(Guard::Alive(deployment.key().clone()))
}
