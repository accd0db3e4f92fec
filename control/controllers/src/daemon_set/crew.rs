//! A set on the table: every node, what it is to the set, and the pods that are for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::{Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::Pod;
use state::{Snapshot, Txn};

use super::eligible::{self, Verdict};
use super::pod;
use crate::pods::{self, Availability};
use crate::revisions::{self, REVISION_LABEL, Revision};
use crate::{Look, owners};

/// A set and what belongs to it.
pub(super) struct Crew<'a> {
    pub(super) object: &'a Object,
    pub(super) spec: &'a DaemonSetSpec,
    pub(super) view: &'a Snapshot,
    pub(super) look: Look<'a>,
    /// By which pods tell that they are of the template that is wanted.
    pub(super) hash: &'a str,
    /// Every node, and what of the set is on it.
    pub(super) posts: BTreeMap<&'a str, Post<'a>>,
    /// Pods for nodes that are not there.
    pub(super) lost: Vec<Daemon<'a>>,
    history: &'a [Revision<'a>],
}

/// A node.
pub(super) struct Post<'a> {
    pub(super) verdict: Verdict,
    /// The pods for it, oldest first.
    pub(super) daemons: Vec<Daemon<'a>>,
}

/// One of the pods.
pub(super) struct Daemon<'a> {
    pub(super) object: &'a Object,
    pub(super) pod: Arc<Pod>,
    /// The node that it is for.
    pub(super) node: Option<String>,
    pub(super) is_updated: bool,
    availability: Availability,
}

// === impl Crew ===

impl<'a> Crew<'a> {
    /// Lays the set out. `history` comes with the revision that is wanted.
    pub(super) fn read(
        object: &'a Object,
        spec: &'a DaemonSetSpec,
        (history, update): (&'a [Revision<'a>], &Revision<'a>),
        view: &'a Snapshot,
        look: Look<'a>,
    ) -> Self {
        let template = spec.template.spec.clone().unwrap_or_default();
        let post = |node: &Object| Post { verdict: eligible::verdict(&template, node), daemons: Vec::new() };
        let posts = view.list(kinds::NODE).map(|node| (node.key().name(), post(node))).collect();
        let hash = update.object.meta().labels.get(REVISION_LABEL).map(String::as_str).unwrap_or_default();
        let mut crew = Self { object, spec, view, look, hash, posts, lost: Vec::new(), history };
        crew.muster();
        crew
    }

    fn muster(&mut self) {
        let seconds = self.spec.min_ready_seconds.unwrap_or(0);
        let owned = self.view.owned_by(&self.object.meta().uid).filter(|it| it.key().kind() == kinds::POD);
        let managed = owned.filter(|it| owners::is_managed_by(it.meta(), self.object));
        let mut pods: Vec<(&Object, Arc<Pod>)> = managed.filter_map(|it| Some((it, it.decode().ok()?))).collect();
        pods.sort_by_key(|(object, _)| (object.meta().creation_timestamp, object.key().clone()));
        for (object, pod) in pods {
            let node = pod::target(&pod);
            let is_updated = object.meta().labels.get(REVISION_LABEL).is_some_and(|hash| hash == self.hash);
            let availability = pods::availability(&pod, seconds, self.look.now);
            let daemon = Daemon { object, pod, node, is_updated, availability };
            match daemon.node.as_deref().map(|node| self.posts.get_mut(node)) {
                Some(Some(post)) => post.daemons.push(daemon),
                Some(None) => self.lost.push(daemon),
                // A stray without a node counts once it has one.
                None => {}
            }
        }
    }

    /// When the next pod counts as available without anything happening.
    pub(super) fn next_available(&self) -> Option<Timestamp> {
        let due = |daemon: &Daemon<'_>| match daemon.availability {
            Availability::From(due) => Some(due),
            _ => None,
        };
        self.posts.values().flat_map(|post| &post.daemons).filter_map(due).min()
    }

    /// The nodes that are to have a pod.
    pub(super) fn manned(&self) -> impl Iterator<Item = (&'a str, &Post<'a>)> {
        self.posts.iter().filter(|(_, post)| post.verdict == Verdict::Run).map(|(node, post)| (*node, post))
    }

    /// What must change for the history to be no longer than asked for.
    pub(super) fn history_txns(&self) -> Vec<Txn> {
        let daemons = self.posts.values().flat_map(|post| &post.daemons).chain(&self.lost);
        let labels = daemons.filter_map(|daemon| daemon.object.meta().labels.get(REVISION_LABEL));
        let in_use: HashSet<&str> = labels.map(String::as_str).chain([self.hash]).collect();
        let is_in_use = |one: &&Revision<'_>| {
            one.object.meta().labels.get(REVISION_LABEL).is_some_and(|hash| in_use.contains(hash.as_str()))
        };
        let live = self.history.iter().filter(is_in_use).map(|one| one.object.key().clone()).collect();
        revisions::clean_up(self.history, &live, self.spec.revision_history_limit, self.look.now)
    }
}

// === impl Post ===

impl<'a> Post<'a> {
    /// The pods that run or are about to, and are not on their way out.
    pub(super) fn active(&self) -> impl Iterator<Item = &Daemon<'a>> {
        self.daemons.iter().filter(|daemon| pods::is_active(&daemon.pod))
    }

    /// Whether one of its pods serves and will go on to.
    pub(super) fn is_served(&self) -> bool {
        self.active().any(Daemon::is_available)
    }

    /// The oldest of its pods of an old template, and of the wanted one.
    pub(super) fn generations(&self) -> (Option<&Daemon<'a>>, Option<&Daemon<'a>>) {
        (self.active().find(|daemon| !daemon.is_updated), self.active().find(|daemon| daemon.is_updated))
    }
}

// === impl Daemon ===

impl Daemon<'_> {
    /// Whether it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.availability != Availability::Unavailable
    }

    /// Whether it has been ready for long enough.
    pub(super) fn is_available(&self) -> bool {
        self.availability == Availability::Available
    }
}
