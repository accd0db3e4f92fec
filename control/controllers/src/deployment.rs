//! Deployments: a template rolled out, old replicas giving way to new ones within bounds.
//!
//! One look takes at most one step of a rollout and writes it in one transaction with the status that describes it, guarded by
//! the deployment's revision and those of the sets it changes. Pods are counted, not remembered: where Kubernetes trusts the
//! status of its ReplicaSets, which may lag, this looks at the pods of the same snapshot, so that bounds hold at every revision.

mod bounds;
mod history;
mod progress;
mod proportion;
mod recreate;
mod rolling;
mod rollout;

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Key, Object, kinds};
use k8s_openapi::api::apps::v1::{self as apps, ReplicaSet};
use state::{Event, Snapshot};

use crate::charge::has_more_room;
use crate::replica_set::replicas;
use crate::{Controller, Look, Plan, claim, owners, selector};
use rollout::Rollout;

/// Who tells the events.
const COMPONENT: &str = "deployment-controller";

/// The controller of Deployments.
pub(crate) struct Deployments;

// === impl Deployments ===

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::DEPLOYMENT => vec![event.key().clone()],
            kinds::REPLICA_SET => {
                let mut keys = owners::managers(event, kinds::DEPLOYMENT);
                if event.after().is_some_and(|set| set.meta().controller().is_none()) {
                    keys.extend(claim::candidates(event.latest(), kinds::DEPLOYMENT, view, selector_of));
                }
                keys
            }
            kinds::POD => {
                let sets = owners::managers(event, kinds::REPLICA_SET);
                let sets = sets.iter().filter_map(|set| view.get(set));
                sets.filter_map(|set| owners::manager(set, kinds::DEPLOYMENT)).collect()
            }
            kinds::RESOURCE_QUOTA if has_more_room(event) => {
                view.list_in(kinds::DEPLOYMENT, event.key().namespace()).map(|it| it.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(deployment) = object.decode::<apps::Deployment>() else { return Plan::nothing() };
        let Some(spec) = &deployment.spec else { return Plan::nothing() };
        let claims = claim::claims(object, &selector::read(&spec.selector), kinds::REPLICA_SET, view, |_| true);
        if !claims.is_empty() {
            return claims.into_iter().collect();
        }
        let mut rollout = Rollout::read(object, &deployment, view, look);
        advance(&mut rollout);
        progress::report(&mut rollout);
        rollout.plan()
    }
}

fn selector_of(deployment: &Object) -> Option<LabelSelector> {
    let deployment = deployment.decode::<apps::Deployment>().ok()?;
    Some(selector::read(&deployment.spec.as_ref()?.selector))
}

/// One step towards what the deployment asks for.
fn advance(rollout: &mut Rollout<'_>) {
    if rollout.object.meta().is_terminating() {
        return;
    }
    history::number(rollout);
    if rollout.is_paused() || proportion::is_due(rollout) {
        proportion::scale(rollout);
    } else if rollout.is_recreate() {
        recreate::step(rollout);
    } else {
        rolling::step(rollout);
    }
    history::clean_up(rollout);
}

/// The ReplicaSets that the deployment manages, with their pods.
fn sets_of<'a>(
    deployment: &Object,
    view: &'a Snapshot,
) -> Vec<(&'a Object, Arc<ReplicaSet>, Vec<crate::replica_set::Replica<'a>>)> {
    let owned = view.owned_by(&deployment.meta().uid).filter(|it| it.key().kind() == kinds::REPLICA_SET);
    let managed = owned.filter(|it| owners::is_managed_by(it.meta(), deployment) && !it.meta().is_terminating());
    managed.filter_map(|object| Some((object, object.decode::<ReplicaSet>().ok()?, replicas(object, view)))).collect()
}
