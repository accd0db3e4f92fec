//! What a StatefulSet reports of its pods.

use api::Object;
use k8s_openapi::api::apps::v1::StatefulSet;
use state::Txn;

use super::ranks::{Member, Ranks};
use crate::edit::{edited, replaced};
use crate::replica_set::number;
use crate::revisions::REVISION_LABEL;

/// The set with the status that is true once `made` exist; nothing if it says so already.
pub(super) fn updated(ranks: &Ranks<'_>, made: &[Object]) -> Option<Object> {
    let of_revision = |revision: &str| {
        let living = count(ranks, |member| !member.is_terminating() && member.revision() == Some(revision));
        let is_of_it = |pod: &&Object| pod.meta().labels.get(REVISION_LABEL).is_some_and(|label| label == revision);
        living + made.iter().filter(is_of_it).count()
    };
    let replicas = ranks.members.len() + made.len();
    let ready = count(ranks, Member::is_ready);
    let update = ranks.update.name();
    let wanted = usize::try_from(ranks.ordinals.end - ranks.ordinals.start).unwrap_or(0);
    // Everything is as wanted: what was new is what is.
    let is_complete =
        ranks.rolling().is_some() && [of_revision(update), ready, replicas].iter().all(|count| *count == wanted);
    let current = if is_complete { update } else { ranks.current.name() };
    edited::<StatefulSet>(ranks.object, |set| {
        let generation = set.metadata.generation;
        let status = set.status.get_or_insert_default();
        status.observed_generation = generation;
        status.replicas = number(replicas).unwrap_or(0);
        status.ready_replicas = number(ready);
        status.available_replicas = Some(number(count(ranks, Member::is_available)).unwrap_or(0));
        status.current_replicas = number(of_revision(current));
        status.updated_replicas = number(of_revision(update));
        status.current_revision = Some(current.to_owned());
        status.update_revision = Some(update.to_owned());
        status.collision_count.get_or_insert(0);
    })
}

/// The name of a new revision was taken.
pub(super) fn collided(object: &Object) -> Txn {
    replaced::<StatefulSet>(object, |set| {
        let status = set.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
    })
}

fn count<'a>(ranks: &Ranks<'a>, which: impl Fn(&Member<'a>) -> bool) -> usize {
    ranks.members.values().filter(|member| which(member)).count()
}
