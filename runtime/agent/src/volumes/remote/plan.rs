//! What is to be uploaded and what brought down: a pure function of what both sides last agreed about, and of both sides now.

use std::collections::{BTreeMap, BTreeSet};

/// A file of the mirror, beside what was agreed about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// It is as agreed.
    Same,
    /// It is new, or was written to.
    Changed,
}

/// What is to be done in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Save {
    /// Upload, in place of the version of this ETag, or where there is none.
    Put(Option<String>),
    /// Delete the version of this ETag.
    Delete(String),
}

/// What is to be done in the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bring {
    /// The object is new, or another.
    Get,
    /// It is gone.
    Remove,
}

/// What the store is to be told of what happened in the mirror; `agreed` are the ETags.
pub(super) fn saves(agreed: &BTreeMap<String, String>, local: &BTreeMap<String, Local>) -> BTreeMap<String, Save> {
    let put = local.iter().filter(|(_, local)| **local == Local::Changed);
    let put = put.map(|(name, _)| (name.clone(), Save::Put(agreed.get(name).cloned())));
    let gone = agreed.iter().filter(|(name, _)| !local.contains_key(*name));
    put.chain(gone.map(|(name, etag)| (name.clone(), Save::Delete(etag.clone())))).collect()
}

/// What the mirror lacks of what is in the store. What was changed here and is not uploaded yet stays as it is.
pub(super) fn brings(
    agreed: &BTreeMap<String, String>,
    local: &BTreeMap<String, Local>,
    remote: &BTreeMap<String, String>,
) -> BTreeMap<String, Bring> {
    let names: BTreeSet<&String> = local.keys().chain(remote.keys()).collect();
    let bring = |name: &str| match (agreed.get(name), local.get(name), remote.get(name)) {
        (_, Some(Local::Changed), _) => None,
        // Removed here, which the store is yet to be told.
        (Some(_), None, _) => None,
        (_, Some(Local::Same), None) => Some(Bring::Remove),
        (agreed, _, Some(etag)) if agreed == Some(etag) => None,
        (_, _, Some(_)) => Some(Bring::Get),
        (_, None, None) => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), bring(name)?))).collect()
}

/// Names that cannot be files, because others lie below them; to a store they may be both.
pub(super) fn directories<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let parents = |name: &'a String| name.match_indices('/').map(|(at, _)| name[..at].to_owned());
    names.flat_map(parents).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `NAME agreed=ETAG same|changed remote=ETAG; …`, and what is uploaded, then what is brought down.
    fn check(world: &str, expected: &str) {
        let (mut agreed, mut local, mut remote) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for line in world.split(';') {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            for word in words {
                match word.split_once('=') {
                    Some(("agreed", etag)) => drop(agreed.insert(name.clone(), etag.to_owned())),
                    Some((_, etag)) => drop(remote.insert(name.clone(), etag.to_owned())),
                    None if word == "same" => drop(local.insert(name.clone(), Local::Same)),
                    None => drop(local.insert(name.clone(), Local::Changed)),
                }
            }
        }
        let saved = saves(&agreed, &local).into_iter().map(|(name, save)| match save {
            Save::Put(over) => format!("put {name} over {}", over.unwrap_or_else(|| "nothing".into())),
            Save::Delete(etag) => format!("delete {name} {etag}"),
        });
        let brought = brings(&agreed, &local, &remote).into_iter().map(|(name, bring)| match bring {
            Bring::Get => format!("get {name}"),
            Bring::Remove => format!("remove {name}"),
        });
        assert_eq!(saved.chain(brought).collect::<Vec<_>>().join(", "), expected, "{world}");
    }

    #[test]
    fn what_was_written_is_uploaded_over_what_it_replaces() {
        check("a agreed=1 same remote=1", "");
        check("a agreed=1 changed remote=1", "put a over 1");
        check("a changed", "put a over nothing");
        check("a agreed=1 remote=1", "delete a 1");
    }

    #[test]
    fn what_others_stored_is_brought_down_unless_it_was_changed_here() {
        check("a remote=1; b agreed=1 same remote=2; c agreed=1 same", "get a, get b, remove c");
        check("a agreed=1 changed remote=2; b changed remote=1", "put a over 1, put b over nothing");
        check("a agreed=1 remote=2", "delete a 1");
    }

    #[test]
    fn what_lies_above_others_is_a_directory() {
        let names = ["a", "a/b/c", "d"].map(str::to_owned);
        assert_eq!(directories(names.iter()), ["a", "a/b"].map(str::to_owned).into());
    }

    fn etags() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map("[a-d]", "[1-3]", 0..4)
    }

    proptest! {
        /// Whatever happened on both sides: nothing is uploaded over a version that was not agreed about, nothing that was written here is
        /// brought down over or removed, and what is as agreed on both sides is left alone.
        #[test]
        fn nobody_loses_what_he_wrote(
            agreed in etags(), remote in etags(),
            local in proptest::collection::btree_map("[a-d]", prop_oneof![Just(Local::Same), Just(Local::Changed)], 0..4),
        ) {
            let local: BTreeMap<_, _> =
                local.into_iter().filter(|(name, local)| *local == Local::Changed || agreed.contains_key(name)).collect();
            let (saves, brings) = (saves(&agreed, &local), brings(&agreed, &local, &remote));
            for (name, save) in &saves {
                let over = match save { Save::Put(over) => over.clone(), Save::Delete(etag) => Some(etag.clone()) };
                prop_assert_eq!(over, agreed.get(name).cloned());
                prop_assert!(!brings.contains_key(name), "both ways at once");
            }
            for name in brings.keys() {
                prop_assert_ne!(local.get(name), Some(&Local::Changed));
            }
            for (name, etag) in &agreed {
                if local.get(name) == Some(&Local::Same) && remote.get(name) == Some(etag) {
                    prop_assert!(!saves.contains_key(name) && !brings.contains_key(name));
                }
            }
        }
    }
}
