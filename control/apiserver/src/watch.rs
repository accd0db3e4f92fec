//! Watches: what changed, told to each watcher as its selection sees it.
//!
//! A watcher is a cursor into the store's history: it pulls, so a slow one costs a number, never a queue. What an event says is
//! encoded once in each form and its bytes are shared by all who are told it alike.

mod encoded;
mod watcher;

use api::Object;
use state::{Change, Event};

use crate::selection::Selection;

pub(crate) use encoded::Encoded;
pub(crate) use watcher::{Start, Terms, Watcher};

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Added,
    Modified,
    Deleted,
}

/// How an event looks to a selection: an object that comes to match was added, one that ceases to match was deleted.
pub(crate) fn seen<'a>(selection: &Selection, event: &'a Event) -> Option<(Told, &'a Object)> {
    let told = match &event.change {
        Change::Added(after) => selection.matches(after).then_some(Told::Added),
        Change::Modified { before, after } => match (selection.matches(before), selection.matches(after)) {
            (false, false) => None,
            (false, true) => Some(Told::Added),
            (true, true) => Some(Told::Modified),
            (true, false) => Some(Told::Deleted),
        },
        Change::Deleted { before, .. } => selection.matches(before).then_some(Told::Deleted),
    };
    told.map(|told| (told, event.latest()))
}

/// One line of a watch.
fn line(word: &str, object: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(br#"{"type":""#);
    line.extend_from_slice(word.as_bytes());
    line.extend_from_slice(br#"","object":"#);
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line
}

// === impl Told ===

impl Told {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ListOptions;
    use crate::target::Target;
    use api::{Revision, kinds};
    use serde_json::json;
    use state::{Snapshot, Txn};

    fn object(name: &str, color: &str) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "labels": {"color": color}}});
        Object::from_value(kinds::CONFIG_MAP, &value).expect("an object")
    }

    /// What a watch of red config maps is told when one changes its color.
    fn check(before: Option<&str>, after: Option<&str>, expect: Option<Told>) {
        let target = Target::parse("/api/v1/namespaces/n/configmaps").expect("a path");
        let options = ListOptions { labels: "color=red".into(), ..ListOptions::default() };
        let selection = Selection::new(&target, &options).expect("selectors");
        let world = Snapshot::load(Revision::ZERO, before.map(|color| object("c", color).at(Revision(1))));
        let txn = match after {
            Some(color) => Txn::default().put(object("c", color)),
            None => Txn::default().remove(object("c", "").key().clone()),
        };
        let (_, events) = world.apply(&txn).expect("nothing guards");
        let found = seen(&selection, &events[0]);
        assert_eq!(found.map(|(told, _)| told), expect);
        if let Some((_, object)) = found {
            assert_eq!(object.revision(), events[0].revision, "an event carries its own revision");
        }
    }

    #[test]
    fn coming_to_match_is_being_added_and_ceasing_to_match_is_being_deleted() {
        check(None, Some("red"), Some(Told::Added));
        check(None, Some("blue"), None);
        check(Some("blue"), Some("red"), Some(Told::Added));
        check(Some("red"), Some("blue"), Some(Told::Deleted));
        check(Some("blue"), Some("green"), None);
        check(Some("red"), None, Some(Told::Deleted));
        check(Some("blue"), None, None);
    }

    #[test]
    fn a_line_is_one_json_object() {
        assert_eq!(line("ADDED", b"{}"), b"{\"type\":\"ADDED\",\"object\":{}}\n");
    }
}
