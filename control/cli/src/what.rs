//! What a person means by `pods`, `deploy/web`, `svc,ing` or `all`.

use anyhow::bail;
use api::{GroupKind, Key, Kind, Kinds, Names, Scope, measured};
use client::Client;

/// A kind, and perhaps one object of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct What {
    pub(crate) names: &'static Names,
    pub(crate) name: Option<String>,
}

/// Reads words as `kubectl` does: kinds joined by commas, then names of objects of them, or `KIND/NAME` words. What is not in the
/// catalog the server may have been taught.
pub(crate) async fn parse(client: &Client, words: &[String]) -> anyhow::Result<Vec<What>> {
    let own = parse_of(&Kinds::default(), words);
    let is_group =
        words.first().is_some_and(|word| word.split(',').any(|word| named(&Kinds::default(), word).is_err()));
    if own.is_ok() && !is_group {
        return own;
    }
    match client.kinds().await {
        Ok(kinds) => parse_of(&kinds, words),
        // Who may not know what there is gets what everybody knows.
        Err(_) => own,
    }
}

fn parse_of(all: &Kinds, words: &[String]) -> anyhow::Result<Vec<What>> {
    let Some((first, rest)) = words.split_first() else { bail!("say what: a kind such as pods, or KIND/NAME") };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(all, word)).collect();
    }
    let kinds: Vec<&'static Names> =
        first.split(',').map(|word| kinds(all, word)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let of =
        |name: Option<&String>| kinds.iter().map(move |names| What { names, name: name.cloned() }).collect::<Vec<_>>();
    if rest.is_empty() { Ok(of(None)) } else { Ok(rest.iter().flat_map(|name| of(Some(name))).collect()) }
}

fn slashed(all: &Kinds, word: &str) -> anyhow::Result<What> {
    match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            Ok(What { names: named(all, kind)?, name: Some(name.into()) })
        }
        _ => bail!("{word:?} is not KIND/NAME; do not mix KIND/NAME words with others"),
    }
}

fn kinds(all: &Kinds, word: &str) -> anyhow::Result<Vec<&'static Names>> {
    let mut members: Vec<&'static Names> = Vec::new();
    for kind in all.all().iter().filter(|kind| kind.names().categories.contains(&word)) {
        // Of a kind in several versions the first is the one to prefer.
        if !members.iter().any(|known| (known.group, known.kind) == (kind.names().group, kind.names().kind)) {
            members.push(kind.names());
        }
    }
    if members.is_empty() { named(all, word).map(|names| vec![names]) } else { Ok(members) }
}

/// The kind of this plural, singular or short name, with its group or without.
pub(crate) fn named(all: &Kinds, word: &str) -> anyhow::Result<&'static Names> {
    let lower = word.to_lowercase();
    let (plain, group) = match lower.split_once('.') {
        Some((plain, group)) => (plain, Some(group)),
        None => (lower.as_str(), None),
    };
    let meant = |names: &&'static Names| {
        (names.plural == plain || names.singular == plain || names.short.contains(&plain))
            && group.is_none_or(|group| names.group == group || format!("{}.{}", names.version, names.group) == group)
    };
    let measured = measured::all().into_iter().map(Kind::names);
    match all.all().iter().map(|kind| kind.names()).chain(measured).find(meant) {
        Some(names) => Ok(names),
        None => bail!("the server doesn't have a resource type {word:?}"),
    }
}

impl What {
    /// The key of the object in the namespace that is meant.
    pub(crate) fn key(&self, namespace: &str) -> anyhow::Result<Key> {
        let Some(name) = &self.name else { bail!("name one of the {}", self.names.plural) };
        Ok(key(self.names, namespace, name))
    }
}

/// The key of an object of a kind, whose namespace counts only if the kind is namespaced.
pub(crate) fn key(names: &Names, namespace: &str, name: &str) -> Key {
    let kind = GroupKind::interned(names.group, names.kind);
    match names.scope {
        Scope::Namespaced => kind.key(namespace, name),
        Scope::Cluster => kind.cluster_key(name),
    }
}

/// `deployment.apps/web`: how commands name an object when they have done something to it.
pub(crate) fn told(names: &Names, name: &str) -> String {
    match names.group {
        "" => format!("{}/{name}", names.singular),
        group => format!("{}.{group}/{name}", names.singular),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expect: &str) {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let told = match parse_of(&Kinds::default(), &words) {
            Ok(found) => {
                let one = |what: &What| format!("{}:{}", what.names.plural, what.name.as_deref().unwrap_or("*"));
                found.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expect);
    }

    #[test]
    fn words_name_kinds_and_objects() {
        check(&["pods"], "pods:*");
        check(&["po,svc"], "pods:* services:*");
        check(&["deploy", "a", "b"], "deployments:a deployments:b");
        check(&["deployment.apps/a", "no/b"], "deployments:a nodes:b");
        check(&["thing"], "the server doesn't have a resource type \"thing\"");
    }
}
