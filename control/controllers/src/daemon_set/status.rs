//! What a DaemonSet reports of its nodes.

use api::Object;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use state::Txn;

use super::crew::{Crew, Daemon, Post};
use super::eligible::Verdict;
use crate::edit::{edited, replaced};
use crate::replica_set::number;

/// The set with the status that is true once there are pods for the nodes `made`; nothing if it says so already.
pub(super) fn updated(crew: &Crew<'_>, made: &[String]) -> Option<Object> {
    // Of several pods on a node the oldest speaks for it, as Kubernetes has it.
    let speakers = || crew.manned().filter_map(|(_, post)| speaker(post));
    let new = |node: &str| made.iter().any(|made| made == node);
    let desired = crew.manned().count();
    let current = crew.manned().filter(|(node, post)| new(node) || speaker(post).is_some()).count();
    let just_made = crew.manned().filter(|(node, post)| new(node) && speaker(post).is_none()).count();
    let ready = speakers().filter(|daemon| daemon.is_ready()).count();
    let available = speakers().filter(|daemon| daemon.is_available()).count();
    let updated = speakers().filter(|daemon| daemon.is_updated).count() + just_made;
    let strays = crew.posts.values().filter(|post| post.verdict != Verdict::Run && speaker(post).is_some()).count();
    edited::<DaemonSet>(crew.object, |set| {
        let plain = |count: usize| number(count).unwrap_or(0);
        let known = set.status.take().unwrap_or_default();
        set.status = Some(DaemonSetStatus {
            desired_number_scheduled: plain(desired),
            current_number_scheduled: plain(current),
            number_ready: plain(ready),
            number_available: number(available),
            number_unavailable: number(desired - available),
            number_misscheduled: plain(strays),
            updated_number_scheduled: number(updated),
            observed_generation: set.metadata.generation,
            ..known
        });
    })
}

fn speaker<'r, 'a>(post: &'r Post<'a>) -> Option<&'r Daemon<'a>> {
    let gone = |daemon: &&Daemon<'_>| !(daemon.object.meta().is_terminating() && crate::pods::has_ended(&daemon.pod));
    post.daemons.iter().find(gone)
}

/// The name of a new revision was taken.
pub(super) fn collided(object: &Object) -> Txn {
    replaced::<DaemonSet>(object, |set| {
        let status = set.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
    })
}
