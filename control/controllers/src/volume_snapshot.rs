//! Snapshots get what holds their data, say whether it can be used, and take it with them or leave it.
//!
//! What holds the data is written and noted in one transaction, so that no snapshot has two. Making the archive is for the node on
//! which the volume lies: it finds what is to be made by its label, and tells in the status what came of it. What has been made is
//! never made again: a snapshot whose data is gone says so, and gets no other.
//!
//! What people see is what the CSI project's snapshot controller does: the finalizers, the annotation of what is left alone, the
//! events. A claim is held by its own finalizer while a snapshot of it is made, instead of one more.

mod contents;
mod making;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::snapshots::{self, Origin, VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotError, VolumeSnapshotStatus};
use api::{Key, Object, kinds, storage};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use state::{Event, Snapshot, Txn};

use crate::deletion::{with_finalizer, without_finalizer};
use crate::edit::replaced;
use crate::record::{Tale, Tone, told_once};
use crate::{Controller, Look, Plan};

/// Who tells the events.
const COMPONENT: &str = "snapshot-controller";

/// The controller of snapshots.
pub(crate) struct VolumeSnapshots;

/// A snapshot as it is looked at.
#[derive(Clone, Copy)]
struct Case<'a> {
    object: &'a Object,
    snapshot: &'a VolumeSnapshot,
    view: &'a Snapshot,
    look: Look<'a>,
}

/// Why there is no snapshot; it may come to be one.
struct NotYet {
    reason: &'static str,
    message: String,
}

// === impl VolumeSnapshots ===

impl Controller for VolumeSnapshots {
    fn name(&self) -> &'static str {
        "volume-snapshot"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::VOLUME_SNAPSHOT => {
                let has = event.latest().decode::<VolumeSnapshot>().ok();
                let has = has.and_then(|it| Some(kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(it.content()?)));
                event.after().map(|it| it.key().clone()).into_iter().chain(has).collect()
            }
            kinds::VOLUME_SNAPSHOT_CONTENT => {
                let own = event.after().map(|it| it.key().clone());
                own.into_iter().chain(whose(event.latest())).collect()
            }
            kinds::VOLUME_SNAPSHOT_CLASS => view.list(kinds::VOLUME_SNAPSHOT).map(|it| it.key().clone()).collect(),
            kinds::PERSISTENT_VOLUME_CLAIM => {
                let name = event.key().name();
                let of_it = |object: &&Object| {
                    let snapshot = object.decode::<VolumeSnapshot>();
                    snapshot.is_ok_and(|it| it.spec.source.persistent_volume_claim_name.as_deref() == Some(name))
                };
                let snapshots = view.list_in(kinds::VOLUME_SNAPSHOT, event.key().namespace());
                snapshots.filter(of_it).map(|object| object.key().clone()).collect()
            }
            // What it was filled from may go now.
            kinds::PERSISTENT_VOLUME if event.before().is_some_and(storage::is_unfilled) => {
                let ending = view.list(kinds::VOLUME_SNAPSHOT).filter(|it| it.meta().is_terminating());
                ending.map(|it| it.key().clone()).collect()
            }
            kinds::NODE if event.after().is_none() => {
                let name = event.key().name();
                let there = view.list(kinds::VOLUME_SNAPSHOT_CONTENT);
                let there =
                    there.filter(|it| it.meta().labels.get(storage::NODE_LABEL).is_some_and(|home| home == name));
                there.map(|it| it.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        if key.kind() == kinds::VOLUME_SNAPSHOT_CONTENT {
            return Plan::of(contents::look(object, view, look));
        }
        let Ok(snapshot) = object.decode::<VolumeSnapshot>() else { return Plan::nothing() };
        let case = Case { object, snapshot: &snapshot, view, look };
        let is_held = |by: &str| object.meta().finalizers.iter().any(|one| one == by);
        Plan::of(match snapshot.content() {
            _ if object.meta().is_terminating() => case.end(),
            _ if !is_held(snapshots::SOURCE_PROTECTION) => with_finalizer(object, snapshots::SOURCE_PROTECTION),
            Some(_) if !is_held(snapshots::BOUND_PROTECTION) => with_finalizer(object, snapshots::BOUND_PROTECTION),
            Some(content) => case.keep(content),
            None => case.seek(),
        })
    }
}

/// The snapshot that has this.
fn whose(content: &Object) -> Option<Key> {
    let content = content.decode::<VolumeSnapshotContent>().ok()?;
    let named = &content.spec.volume_snapshot_ref;
    Some(kinds::VOLUME_SNAPSHOT.key(named.namespace.as_deref()?, named.name.as_deref()?))
}

// === impl Case ===

impl<'a> Case<'a> {
    fn content(self, name: &str) -> Option<(&'a Object, Arc<VolumeSnapshotContent>)> {
        let object = self.view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(name))?;
        Some((object, object.decode().ok()?))
    }

    /// What has its data says how that is.
    fn keep(self, name: &str) -> Txn {
        let Some((_, content)) = self.content(name) else {
            let message = "VolumeSnapshotContent is missing";
            let lost = replaced::<VolumeSnapshot>(self.object, |snapshot| {
                let status = snapshot.status.get_or_insert_default();
                let since = status.error.take().filter(|error| error.message.as_deref() == Some(message));
                status.ready_to_use = Some(false);
                status.error = since.or_else(|| Some(self.error(message)));
            });
            let tale = self.tell(Tone::Warning, "SnapshotContentMissing", message);
            return if lost.is_empty() { lost } else { lost.and(tale) };
        };
        let mut ready = false;
        let said = replaced::<VolumeSnapshot>(self.object, |snapshot| {
            let status = snapshot.status.get_or_insert_default();
            let now = told(&content);
            ready = now.ready_to_use == Some(true) && status.ready_to_use != Some(true);
            *status = VolumeSnapshotStatus { bound_volume_snapshot_content_name: Some(name.to_owned()), ..now };
        });
        let error = content.status.as_ref().and_then(|status| status.error.as_ref()?.message.clone());
        match (said.is_empty(), error) {
            (true, _) => said,
            (false, Some(why)) => said.and(self.tell(Tone::Warning, "SnapshotCreationFailed", &why)),
            (false, None) if ready => {
                let message = format!("Snapshot {} is ready to use.", self.full_name());
                said.and(self.tell(Tone::Normal, "SnapshotReady", &message))
            }
            (false, None) => said,
        }
    }

    /// On its way out: its data first, if that is to go with it.
    fn end(self) -> Txn {
        let held = self.snapshot.content().and_then(|name| self.content(name));
        let held = held.filter(|(object, _)| whose(object).as_ref() == Some(self.object.key()));
        if held.as_ref().is_some_and(|(_, content)| self.is_source(content)) {
            return self.tell(Tone::Warning, "SnapshotDeletePending", "Snapshot is being used to restore a PVC");
        }
        match held {
            Some((object, content)) if !contents::is_abandoned(object) => {
                contents::abandoned(object, &content, self.look)
            }
            Some((_, content)) if content.spec.deletion_policy == "Delete" => Txn::default(),
            _ => self.let_go(),
        }
    }

    /// Whether a volume is being filled from it at this moment.
    fn is_source(self, content: &VolumeSnapshotContent) -> bool {
        let handle = content.handle().and_then(|handle| handle.parse().ok());
        let Some(from) = handle.map(|handle| Origin::Archive(handle).to_string()) else { return false };
        self.view.list(kinds::PERSISTENT_VOLUME).any(|volume| {
            let meta = volume.meta();
            storage::is_unfilled(volume)
                && !meta.is_terminating()
                && meta.annotations.get(storage::FILLED_FROM).is_some_and(|it| *it == from)
        })
    }

    /// Nothing here holds it any more. One finalizer at a time: the next look takes the other.
    fn let_go(self) -> Txn {
        let ours = [snapshots::SOURCE_PROTECTION, snapshots::BOUND_PROTECTION];
        let held = self.object.meta().finalizers.iter().find(|one| ours.contains(&one.as_ref()));
        held.map_or_else(Txn::default, |held| without_finalizer(self.object, held))
    }

    /// As people call it.
    fn full_name(self) -> String {
        format!("{}/{}", self.object.key().namespace(), self.object.key().name())
    }

    fn not_yet(self, why: &NotYet) -> Txn {
        let said = replaced::<VolumeSnapshot>(self.object, |snapshot| {
            let status = snapshot.status.get_or_insert_default();
            let since = status.error.take().filter(|error| error.message.as_deref() == Some(&*why.message));
            status.ready_to_use = Some(false);
            status.error = since.or_else(|| Some(self.error(&why.message)));
        });
        said.and(self.tell(Tone::Warning, why.reason, &why.message))
    }

    fn error(self, message: &str) -> VolumeSnapshotError {
        VolumeSnapshotError { time: Some(self.look.time()), message: Some(message.to_owned()) }
    }

    fn tell(self, tone: Tone, reason: &'static str, message: &str) -> Txn {
        told_once(self.view, self.look, self.object, &Tale { by: COMPONENT, tone, reason, message })
    }
}

/// What a snapshot says of what has its data.
fn told(content: &VolumeSnapshotContent) -> VolumeSnapshotStatus {
    let status = content.status.clone().unwrap_or_default();
    let made = status.creation_time.and_then(|nanos| Timestamp::from_nanosecond(i128::from(nanos)).ok());
    VolumeSnapshotStatus {
        bound_volume_snapshot_content_name: None,
        creation_time: made.map(Time),
        ready_to_use: Some(status.ready_to_use == Some(true)),
        restore_size: status.restore_size.map(|bytes| Written(api::quantity::Quantity::bytes(bytes).to_string())),
        error: status.error,
    }
}
