//! Who waits for a node, and whose turn it is.
//!
//! It follows the world: what was decided about nobody is asked again only when something has happened that may change the answer,
//! and a pod is read when its turn comes. Pods that ask the same and were refused stand aside together; the first of them asks for
//! all. Nobody stands aside before the world says of him why.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use api::{Key, Object, Revision};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use scheduler::{Request, Unplaceable};
use state::Snapshot;

use super::waits;

/// The pods that wait for a node.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those who are to be asked about, in order.
    due: BTreeSet<Turn>,
    /// Who waits, and how.
    standing: HashMap<Key, (Turn, Standing)>,
    /// What became of those who ask the same, and who of them stands aside.
    groups: BTreeMap<Request, Group>,
    /// Who stands aside by himself until something happens.
    alone: BTreeSet<Turn>,
}

/// Who is asked about first: who matters more, then who came first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    priority: Reverse<i32>,
    created: Option<Timestamp>,
    revision: Revision,
    pod: Key,
}

/// How one waits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// For his turn.
    Due,
    /// For something to happen that helps whoever asks the same.
    Aside(Request),
    /// For anything to happen.
    Alone,
    /// For somebody to change him.
    Gated,
}

/// Those who ask the same.
#[derive(Debug)]
struct Group {
    refused: Unplaceable,
    /// Nothing has happened since that may change the answer.
    holds: bool,
    /// Who stands aside.
    pods: BTreeSet<Turn>,
}

/// What was found about a pod whose turn it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is given a node, or promised one: whoever asks the same is asked about, too.
    Taken,
    /// It may not be asked about yet.
    Gated,
    /// It fits nowhere.
    Refused(Unplaceable),
}

/// Of so many that ask the same each is told at once when fewer nodes are short of this and more of that. Of more only who is asked
/// about, and the others with the next [`refresh`](Line::refresh).
const CROWD: usize = 100;

// === impl Line ===

impl Line {
    /// Everybody who waits in a world.
    pub(super) fn of(view: &Snapshot) -> Self {
        let mut line = Self::default();
        for pod in view.pods_without_node() {
            line.join(pod);
        }
        line
    }

    /// Takes up what has become of pods; whether anybody may fit who did not is what `gives` says.
    pub(super) fn follow(&mut self, pods: &[(Option<&Object>, Option<&Object>)], gives: bool) {
        for (before, after) in pods {
            if let Some(before) = before {
                self.leave(before.key());
            }
            if let Some(after) = after {
                self.join(after);
            }
        }
        for turn in std::mem::take(&mut self.alone) {
            self.call(turn);
        }
        // Where no answer holds somebody asks: whoever was to may have gone before it was his turn.
        let mut first = Vec::new();
        self.groups.retain(|_, group| {
            group.holds &= !gives;
            if !group.holds {
                first.extend(group.pods.pop_first());
            }
            group.holds || !group.pods.is_empty()
        });
        for turn in first {
            self.call(turn);
        }
    }

    /// Asks about everybody anew.
    pub(super) fn refresh(&mut self) {
        for turn in std::mem::take(&mut self.groups).into_values().flat_map(|group| group.pods) {
            self.call(turn);
        }
    }

    /// Whose turn it is after somebody's; first of all, if after nobody's.
    pub(super) fn next(&self, after: Option<&Turn>) -> Option<Turn> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((after, Bound::Unbounded)).next().cloned()
    }

    /// Whether anybody was refused of late.
    pub(super) fn has_answers(&self) -> bool {
        !self.groups.is_empty()
    }

    /// What whoever asks this is answered, if that is known.
    pub(super) fn answer(&self, request: &Request) -> Option<&Unplaceable> {
        self.groups.get(request).filter(|group| group.holds).map(|group| &group.refused)
    }

    /// What was found about the pod whose turn it was, and whether the world says so already. Who has not been told, or has been
    /// given a node, stays where it is until the world is another.
    pub(super) fn found(&mut self, turn: &Turn, request: Option<&Request>, found: Found, is_told: bool) {
        let standing = match (request, found) {
            (_, Found::Gated) => Standing::Gated,
            (None, Found::Refused(_)) => Standing::Alone,
            (Some(request), Found::Refused(refused)) => {
                self.refuse(request, refused);
                Standing::Aside(request.clone())
            }
            (Some(request), Found::Taken) => {
                let group = self.groups.get_mut(request);
                if let Some(next) = group.and_then(Group::reopen) {
                    self.call(next);
                }
                return;
            }
            (None, Found::Taken) => return,
        };
        if is_told {
            self.step_aside(turn, standing);
        }
    }

    /// Notes what those are answered who ask this. Where that is news to those who stand aside, they are asked about.
    fn refuse(&mut self, request: &Request, refused: Unplaceable) {
        let Some(group) = self.groups.get_mut(request) else {
            let group = Group { refused, holds: true, pods: BTreeSet::new() };
            self.groups.insert(request.clone(), group);
            return;
        };
        group.holds = true;
        if group.refused == refused {
            return;
        }
        let is_alike = group.refused.nodes == refused.nodes && group.refused.reasons.keys().eq(refused.reasons.keys());
        group.refused = refused;
        if !is_alike || group.pods.len() <= CROWD {
            for turn in std::mem::take(&mut group.pods) {
                self.call(turn);
            }
        }
    }

    fn step_aside(&mut self, turn: &Turn, standing: Standing) {
        self.due.remove(turn);
        match &standing {
            Standing::Aside(request) => {
                if let Some(group) = self.groups.get_mut(request) {
                    group.pods.insert(turn.clone());
                }
            }
            Standing::Alone => {
                self.alone.insert(turn.clone());
            }
            Standing::Due | Standing::Gated => {}
        }
        self.standing.insert(turn.pod.clone(), (turn.clone(), standing));
    }

    /// It is the pod's turn.
    fn call(&mut self, turn: Turn) {
        self.standing.insert(turn.pod.clone(), (turn.clone(), Standing::Due));
        self.due.insert(turn);
    }

    fn join(&mut self, object: &Object) {
        if let Some((object, pod)) = waits(object) {
            self.call(Turn::of(object, &pod));
        }
    }

    fn leave(&mut self, pod: &Key) {
        let Some((turn, standing)) = self.standing.remove(pod) else { return };
        match standing {
            Standing::Due => {
                self.due.remove(&turn);
            }
            Standing::Alone => {
                self.alone.remove(&turn);
            }
            Standing::Gated => {}
            Standing::Aside(request) => {
                if let Some(group) = self.groups.get_mut(&request) {
                    group.pods.remove(&turn);
                }
            }
        }
    }
}

// === impl Group ===

impl Group {
    /// The answer holds no longer: who asks next.
    fn reopen(&mut self) -> Option<Turn> {
        self.holds = false;
        self.pods.pop_first()
    }
}

// === impl Turn ===

impl Turn {
    fn of(object: &Object, pod: &Pod) -> Self {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let created = object.meta().creation_timestamp;
        Self { priority: Reverse(priority), created, revision: object.revision(), pod: object.key().clone() }
    }

    /// Whose turn it is.
    pub(super) fn pod(&self) -> &Key {
        &self.pod
    }
}
