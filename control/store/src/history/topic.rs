//! The events of one interest, and the bell that wakes those who wait for more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use api::{GroupKind, Key};
use state::{Event, Revision};
use tokio::sync::watch;

use super::Interest;

/// The events of one interest.
pub(super) struct Topic {
    pub(super) events: VecDeque<Arc<Event>>,
    /// The last event of this topic that is no longer here, or where its history begins.
    pub(super) forgotten: Revision,
    pub(super) grown: watch::Sender<()>,
}

/// Every topic there is. That of all events and those of kinds stay; narrower ones are there while somebody listens, so that a
/// watch of one object sleeps through what happens to ten thousand others.
pub(super) struct Topics {
    pub(super) all: Topic,
    kinds: HashMap<GroupKind, OfKind>,
}

struct OfKind {
    whole: Topic,
    namespaces: HashMap<Arc<str>, Topic>,
    objects: HashMap<Key, Topic>,
}

// === impl Topic ===

impl Topic {
    fn new(base: Revision) -> Self {
        Self { events: VecDeque::new(), forgotten: base, grown: watch::Sender::new(()) }
    }

    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(start..)
    }

    /// Forgets the event of this revision, if it is the first here.
    fn forget(&mut self, revision: Revision) {
        if self.events.front().is_some_and(|first| first.revision == revision) {
            self.events.pop_front();
            self.forgotten = revision;
        }
    }

    /// The past is another one. Those who wait keep their bell: it tells them that they are too late.
    fn restart(&mut self, base: Revision) {
        self.events.clear();
        self.forgotten = base;
        self.grown.send_replace(());
    }

    /// Begins with what `wider` knows behind `after` of `interest`.
    fn learn(&mut self, wider: &Topic, interest: &Interest, after: Revision) {
        self.events = wider.after(after).filter(|event| interest.covers(event.key())).cloned().collect();
        self.forgotten = after;
    }
}

// === impl Topics ===

impl Topics {
    pub(super) fn new(base: Revision) -> Self {
        Self { all: Topic::new(base), kinds: HashMap::new() }
    }

    /// The topic of an interest, if it has one yet.
    pub(super) fn get(&self, interest: &Interest) -> Option<&Topic> {
        match interest {
            Interest::All => Some(&self.all),
            Interest::Kind(kind) => self.kinds.get(kind).map(|of_kind| &of_kind.whole),
            Interest::Namespace(kind, namespace) => self.kinds.get(kind)?.namespaces.get(namespace),
            Interest::Object(key) => self.kinds.get(&key.kind())?.objects.get(key),
        }
    }

    /// The topic of an interest, made if need be: with every event behind `after` that is still known.
    pub(super) fn open(&mut self, interest: &Interest, base: Revision, after: Revision) -> &Topic {
        let (kind, narrow) = match interest {
            Interest::All => return &self.all,
            Interest::Kind(kind) => return &self.of_kind(*kind, base).whole,
            Interest::Namespace(kind, _) => (*kind, true),
            Interest::Object(key) => (key.kind(), true),
        };
        debug_assert!(narrow, "the wide ones have returned");
        let OfKind { whole, namespaces, objects } = self.of_kind(kind, base);
        // Before `after` this topic knows nothing, and whoever is still to come may ask for more.
        let after = after.max(whole.forgotten);
        let fresh = || Topic::new(Revision(u64::MAX));
        let topic = match interest {
            Interest::Namespace(_, namespace) => namespaces.entry(namespace.clone()).or_insert_with(fresh),
            Interest::Object(key) => objects.entry(key.clone()).or_insert_with(fresh),
            Interest::All | Interest::Kind(_) => return whole,
        };
        if after < topic.forgotten {
            topic.learn(whole, interest, after);
        }
        topic
    }

    /// A listener of this interest is leaving.
    pub(super) fn leave(&mut self, interest: &Interest) {
        let is_last = self.get(interest).is_some_and(|topic| topic.grown.receiver_count() <= 1);
        if !is_last {
            return;
        }
        match interest {
            Interest::All | Interest::Kind(_) => {}
            Interest::Namespace(kind, namespace) => {
                if let Some(of_kind) = self.kinds.get_mut(kind) {
                    of_kind.namespaces.remove(namespace);
                }
            }
            Interest::Object(key) => {
                if let Some(of_kind) = self.kinds.get_mut(&key.kind()) {
                    of_kind.objects.remove(key);
                }
            }
        }
    }

    /// Files an event under everything it is of interest to.
    pub(super) fn push(&mut self, event: Arc<Event>, base: Revision) {
        self.of_kind(event.key().kind(), base);
        self.concerned(event.key(), |topic| topic.events.push_back(event.clone()));
    }

    /// Wakes everybody to whom what happened to this object is of interest, but those who listen to all.
    pub(super) fn ring(&self, key: &Key) {
        let Some(of_kind) = self.kinds.get(&key.kind()) else { return };
        of_kind.whole.grown.send_replace(());
        let narrow = [of_kind.namespaces.get(key.namespace()), of_kind.objects.get(key)];
        for topic in narrow.into_iter().flatten() {
            topic.grown.send_replace(());
        }
    }

    /// Forgets the oldest event.
    pub(super) fn forget_first(&mut self) -> Option<Arc<Event>> {
        let first = self.all.events.front()?.clone();
        self.concerned(first.key(), |topic| topic.forget(first.revision));
        Some(first)
    }

    pub(super) fn restart(&mut self, base: Revision) {
        self.all.restart(base);
        for of_kind in self.kinds.values_mut() {
            of_kind.whole.restart(base);
            let narrow = of_kind.namespaces.values_mut().chain(of_kind.objects.values_mut());
            narrow.for_each(|topic| topic.restart(base));
        }
    }

    fn of_kind(&mut self, kind: GroupKind, base: Revision) -> &mut OfKind {
        self.kinds.entry(kind).or_insert_with(|| OfKind {
            whole: Topic::new(base),
            namespaces: HashMap::new(),
            objects: HashMap::new(),
        })
    }

    fn concerned(&mut self, key: &Key, mut with: impl FnMut(&mut Topic)) {
        with(&mut self.all);
        let Some(of_kind) = self.kinds.get_mut(&key.kind()) else { return };
        with(&mut of_kind.whole);
        let narrow = [of_kind.namespaces.get_mut(key.namespace()), of_kind.objects.get_mut(key)];
        narrow.into_iter().flatten().for_each(with);
    }
}
