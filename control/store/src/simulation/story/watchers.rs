//! Watchers: each is told every event, of everything or of one object, once, in order, and resumes where it was.

use std::collections::BTreeSet;
use std::time::Duration;

use api::kinds;
use state::{Event, Revision};

use super::super::stage::key;
use super::super::value;
use super::{MEMBERS, Story};
use crate::{Interest, runtime};

impl Story {
    /// Watches everything, at a member as long as it is there and then at another, from where it was.
    pub(super) async fn watcher(self, place: usize) {
        let (mut at, mut reached) = (place, Revision::ZERO);
        while !self.notes.lock().is_over {
            let Some((life, store)) = self.stage.store(at) else {
                runtime::sleep(Duration::from_millis(20)).await;
                at = (at + 1) % MEMBERS;
                continue;
            };
            let Ok(mut watch) = store.subscribe(kinds::CONFIG_MAP, reached) else {
                // Too old: it lists again.
                reached = store.snapshot().revision().max(reached);
                continue;
            };
            loop {
                let next = runtime::timeout(Duration::from_millis(300), watch.next()).await;
                if !self.stage.executor.is_alive(life) {
                    break;
                }
                let events = match next {
                    Ok(Ok(events)) => events,
                    Ok(Err(_)) => break,
                    Err(_) if self.notes.lock().is_over => return,
                    Err(_) => Vec::new(),
                };
                for event in &events {
                    if event.revision != reached.next() {
                        self.wrong(format!(
                            "the watch at member {at} had everything up to {reached}, and is told of {}",
                            event.revision
                        ));
                    }
                    self.witness(event, at);
                    reached = event.revision;
                }
                if watch.reached() < reached {
                    self.wrong(format!("a bookmark of {} after {reached}", watch.reached()));
                }
                reached = watch.reached();
                if self.stage.toss(|random| random.one_in(12)) {
                    break;
                }
            }
            if self.stage.toss(|random| random.one_in(3)) {
                at = (at + 1) % MEMBERS;
            }
        }
    }

    fn witness(&self, event: &Event, place: usize) {
        let told = (event.key().name().to_owned(), event.after().map(value));
        let mut notes = self.notes.lock();
        notes.events += 1;
        let known = notes.truth.entry(event.revision).or_insert_with(|| told.clone()).clone();
        if known != told {
            notes
                .wrong
                .push(format!("member {place} tells that {} wrote {told:?}, another told {known:?}", event.revision));
        }
    }

    /// Watches one object, and is told of it what those who watch everything are told.
    pub(super) async fn narrow_watcher(self) {
        let mut reached = Revision::ZERO;
        let mut told: BTreeSet<Revision> = BTreeSet::new();
        let mut seen: Vec<(Revision, Revision)> = Vec::new();
        let mut at = 0;
        while !self.notes.lock().is_over {
            runtime::sleep(Duration::from_millis(15)).await;
            at = (at + usize::from(self.stage.toss(|random| random.one_in(9)))) % MEMBERS;
            let Some((_, store)) = self.stage.store(at) else {
                at = (at + 1) % MEMBERS;
                continue;
            };
            let Ok(mut watch) = store.subscribe(Interest::Object(key("k0")), reached) else {
                reached = store.snapshot().revision().max(reached);
                continue;
            };
            let begun = reached;
            for _ in 0..3 {
                runtime::sleep(Duration::from_millis(20)).await;
                let Ok(events) = watch.ready() else { break };
                for event in events {
                    if event.revision <= reached || !told.insert(event.revision) {
                        self.wrong(format!("{} was told twice", event.revision));
                    }
                    reached = event.revision;
                }
                reached = reached.max(watch.reached());
            }
            seen.push((begun, reached));
        }
        let notes = self.notes.lock();
        let missed = notes.truth.iter().find(|(revision, (name, _))| {
            name == "k0" && seen.iter().any(|(from, to)| from < revision && *revision <= to) && !told.contains(revision)
        });
        let missed = missed.map(|(revision, _)| format!("a watch of one object was not told of {revision}"));
        drop(notes);
        if let Some(missed) = missed {
            self.wrong(missed);
        }
    }
}
