//! A set on the table: its pods by their ordinals, and the revisions that they are made of.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::{Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::Pod;
use state::{Snapshot, Txn};

use super::ordinal::{self, Ordinals};
use crate::pods::{self, Availability};
use crate::revisions::{self, REVISION_LABEL, Revision};
use crate::{Look, owners};

/// A set and what belongs to it.
pub(super) struct Ranks<'a> {
    pub(super) object: &'a Object,
    pub(super) spec: &'a StatefulSetSpec,
    pub(super) view: &'a Snapshot,
    pub(super) look: Look<'a>,
    /// The ordinals that should have a pod.
    pub(super) ordinals: Ordinals,
    /// The pods that it manages, wanted or not.
    pub(super) members: BTreeMap<i64, Member<'a>>,
    /// What pods are made of that the update has not reached.
    pub(super) current: Revision<'a>,
    /// What pods should be made of.
    pub(super) update: Revision<'a>,
    history: &'a [Revision<'a>],
}

/// One of its pods.
pub(super) struct Member<'a> {
    pub(super) object: &'a Object,
    pub(super) pod: Arc<Pod>,
    pub(super) ordinal: i64,
    availability: Availability,
}

// === impl Ranks ===

impl<'a> Ranks<'a> {
    /// Lays the set out. `history` comes with the revision that is wanted.
    pub(super) fn read(
        object: &'a Object,
        set: &'a StatefulSet,
        spec: &'a StatefulSetSpec,
        (history, update): (&'a [Revision<'a>], Revision<'a>),
        view: &'a Snapshot,
        look: Look<'a>,
    ) -> Self {
        let known = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = history.iter().find(|one| Some(one.name()) == known).unwrap_or(&update).clone();
        let seconds = spec.min_ready_seconds.unwrap_or(0);
        let owned = view.owned_by(&object.meta().uid).filter(|it| it.key().kind() == kinds::POD);
        let managed = owned.filter(|it| owners::is_managed_by(it.meta(), object));
        let members = managed.filter_map(|it| {
            let (pod, ordinal) = (it.decode::<Pod>().ok()?, ordinal::of(it, object)?);
            let availability = match pods::phase(&pod) {
                "Running" => pods::availability(&pod, seconds, look.now),
                _ => Availability::Unavailable,
            };
            Some((ordinal, Member { object: it, pod, ordinal, availability }))
        });
        let (members, ordinals) = (members.collect(), Ordinals::of(spec));
        Self { object, spec, view, look, ordinals, members, current, update, history }
    }

    /// Whether one pod waits for the other.
    pub(super) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// How updates roll; nothing if pods are updated when people delete them.
    pub(super) fn rolling(&self) -> Option<RollingUpdateStatefulSetStrategy> {
        let strategy = self.spec.update_strategy.as_ref();
        let is_rolling = strategy.and_then(|it| it.type_.as_deref()) != Some("OnDelete");
        is_rolling.then(|| strategy.and_then(|it| it.rolling_update.clone()).unwrap_or_default())
    }

    /// The first ordinal that updates reach.
    pub(super) fn partition(&self) -> i64 {
        let partition = self.rolling().and_then(|rolling| rolling.partition).unwrap_or(0);
        self.ordinals.start + i64::from(partition.max(0))
    }

    /// What a pod at this ordinal is made of.
    pub(super) fn revision_at(&self, ordinal: i64) -> &Revision<'a> {
        if ordinal < self.partition() { &self.current } else { &self.update }
    }

    /// When the next pod counts as available without anything happening.
    pub(super) fn next_available(&self) -> Option<Timestamp> {
        let due = |member: &Member<'_>| match member.availability {
            Availability::From(due) => Some(due),
            _ => None,
        };
        self.members.values().filter_map(due).min()
    }

    /// What must change for the history to be no longer than asked for.
    pub(super) fn history_txns(&self) -> Vec<Txn> {
        let in_use: HashSet<&str> = self
            .members
            .values()
            .filter_map(Member::revision)
            .chain([self.current.name(), self.update.name()])
            .collect();
        let live = self.history.iter().filter(|one| in_use.contains(one.name()));
        let live = live.map(|one| one.object.key().clone()).collect();
        revisions::clean_up(self.history, &live, self.spec.revision_history_limit, self.look.now)
    }
}

// === impl Member ===

impl Member<'_> {
    pub(super) fn is_terminating(&self) -> bool {
        self.object.meta().is_terminating()
    }

    pub(super) fn has_ended(&self) -> bool {
        pods::has_ended(&self.pod)
    }

    /// Whether it runs and is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.availability != Availability::Unavailable
    }

    /// Whether it runs, and has been ready for long enough.
    pub(super) fn is_available(&self) -> bool {
        self.availability == Availability::Available
    }

    /// Whether it serves and will go on to.
    pub(super) fn is_healthy(&self) -> bool {
        self.is_ready() && !self.is_terminating()
    }

    /// The name of the revision that it was made of.
    pub(super) fn revision(&self) -> Option<&str> {
        self.object.meta().labels.get(REVISION_LABEL).map(String::as_str)
    }
}
