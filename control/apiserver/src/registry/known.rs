//! Which images there are, as all servers know it: objects of the world beside those of the API, which does not serve them.
//!
//! ```text
//! <repository>@<digest>    what a manifest says it is, and the content it consists of
//! <repository>:<tag>       the digest that the tag stands for
//! ```
//!
//! What is known here need not lie here: the content is copied from whoever has it.

use api::{GroupKind, Key, NotAnObject, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};

use super::name::{Digest, Reference, Repository};

/// The kind of these objects.
pub(super) const IMAGE: GroupKind = GroupKind::new("coracle.dev", "Image");

/// A manifest, as far as all servers know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Known {
    /// What it says it is.
    pub(super) media_type: String,
    /// The blobs that it consists of, by their digests.
    pub(super) blobs: Vec<String>,
}

#[derive(Deserialize)]
struct Tagged {
    digest: String,
}

/// What makes a manifest known, by its digest and whatever tag it was pushed with.
pub(super) fn publish(
    repository: &Repository,
    reference: &Reference,
    digest: &Digest,
    known: &Known,
) -> Result<Txn, NotAnObject> {
    Ok(objects(repository, reference, digest, known)?.into_iter().fold(Txn::default(), Txn::put))
}

/// The same for one that lies here since before there were other servers: whatever somebody said since stays.
pub(super) fn adopt(
    world: &Snapshot,
    repository: &Repository,
    reference: &Reference,
    digest: &Digest,
    known: &Known,
) -> Result<Txn, NotAnObject> {
    let objects = objects(repository, reference, digest, known)?.into_iter();
    let unknown = objects.filter(|object| world.get(object.key()).is_none());
    Ok(unknown.fold(Txn::default(), |txn, object| txn.guard(Guard::Absent(object.key().clone())).put(object)))
}

fn objects(
    repository: &Repository,
    reference: &Reference,
    digest: &Digest,
    known: &Known,
) -> Result<Vec<Object>, NotAnObject> {
    let mut objects = vec![object(&by_digest(repository, digest), json!(known))?];
    if let Reference::Tag(tag) = reference {
        objects.push(object(&by_tag(repository, tag.as_str()), json!({"digest": digest.as_str()}))?);
    }
    Ok(objects)
}

/// The digest that a reference stands for.
pub(super) fn resolve(world: &Snapshot, repository: &Repository, reference: &Reference) -> Option<Digest> {
    match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        Reference::Tag(tag) => {
            let object = world.get(&by_tag(repository, tag.as_str()))?;
            let Tagged { digest } = serde_json::from_slice(object.body()).ok()?;
            digest.parse().ok()
        }
    }
}

/// What is known of a manifest.
pub(super) fn find(world: &Snapshot, repository: &Repository, digest: &Digest) -> Option<Known> {
    serde_json::from_slice(world.get(&by_digest(repository, digest))?.body()).ok()
}

/// The names of all repositories, sorted.
pub(super) fn repositories(world: &Snapshot) -> Vec<String> {
    let names = world.list(IMAGE).map(|object| object.key().name());
    let mut found: Vec<String> = names.filter_map(|name| name.split(['@', ':']).next()).map(String::from).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The tags of a repository, sorted; none if there is no such repository.
pub(super) fn tags(world: &Snapshot, repository: &Repository) -> Option<Vec<String>> {
    let rest = |object: &Object| object.key().name().strip_prefix(repository.as_str()).map(String::from);
    let named: Vec<String> = world.list(IMAGE).filter_map(rest).filter(|rest| rest.starts_with([':', '@'])).collect();
    let mut tags: Vec<String> = named.iter().filter_map(|rest| rest.strip_prefix(':')).map(String::from).collect();
    tags.sort_unstable();
    (!named.is_empty()).then_some(tags)
}

/// The digests of all content that is known: that of the manifests, and what they consist of.
pub(super) fn contents(world: &Snapshot) -> impl Iterator<Item = Digest> {
    world.list(IMAGE).flat_map(content)
}

/// Those of one manifest; a tag has none of its own.
pub(super) fn content(object: &Object) -> Vec<Digest> {
    let Some((_, digest)) = object.key().name().split_once('@') else { return Vec::new() };
    let known: Known = serde_json::from_slice(object.body()).unwrap_or_default();
    known.blobs.iter().map(String::as_str).chain([digest]).filter_map(|digest| digest.parse().ok()).collect()
}

fn by_digest(repository: &Repository, digest: &Digest) -> Key {
    IMAGE.cluster_key(&format!("{repository}@{digest}"))
}

fn by_tag(repository: &Repository, tag: &str) -> Key {
    IMAGE.cluster_key(&format!("{repository}:{tag}"))
}

fn object(key: &Key, mut fields: Value) -> Result<Object, NotAnObject> {
    fields["apiVersion"] = "coracle.dev/v1".into();
    fields["kind"] = IMAGE.kind.into();
    fields["metadata"] = json!({"name": key.name()});
    Object::from_tree(IMAGE, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn known(blobs: &[&str]) -> Known {
        Known { media_type: "a/b".into(), blobs: blobs.iter().map(|blob| digest(blob).to_string()).collect() }
    }

    /// `app:v1=m1` pushes the manifest `m1` of `app` as `v1`; `~app:v1=m1` lay here before.
    fn world(history: &str) -> Snapshot {
        history.split_whitespace().fold(Snapshot::default(), |world, word| {
            let (name, manifest) = word.split_once('=').expect("a manifest");
            let (repository, tag) = name.trim_start_matches('~').split_once(':').expect("a tag");
            let (repository, reference) = (repository.parse().expect("a name"), tag.parse().expect("a tag"));
            let (digest, known) = (digest(manifest), known(&[manifest, "config"]));
            let txn = if name.starts_with('~') {
                adopt(&world, &repository, &reference, &digest, &known)
            } else {
                publish(&repository, &reference, &digest, &known)
            };
            world.apply(&txn.expect("objects")).expect("nothing is in the way").0
        })
    }

    fn check(history: &str, name: &str, expect: Option<&str>) {
        let (repository, tag) = name.split_once(':').expect("a tag");
        let found = resolve(&world(history), &repository.parse().expect("a name"), &tag.parse().expect("a tag"));
        assert_eq!(found, expect.map(digest), "{history}: {name}");
    }

    #[test]
    fn a_tag_stands_for_what_was_pushed_last() {
        check("app:v1=m1", "app:v1", Some("m1"));
        check("app:v1=m1 app:v1=m2", "app:v1", Some("m2"));
        check("app:v1=m1", "app:v2", None);
        check("app:v1=m1", "app/part:v1", None);
        check("~app:v1=m1", "app:v1", Some("m1"));
        check("app:v1=m2 ~app:v1=m1", "app:v1", Some("m2"));
    }

    #[test]
    fn what_there_is_can_be_listed() {
        let world = world("team/app:v1=m1 app:v2=m1 app:v1=m2");
        assert_eq!(repositories(&world), ["app", "team/app"]);
        assert_eq!(tags(&world, &"app".parse().expect("a name")), Some(vec!["v1".into(), "v2".into()]));
        assert_eq!(tags(&world, &"ap".parse().expect("a name")), None);
        let contents: std::collections::HashSet<String> = contents(&world).map(|digest| digest.to_string()).collect();
        assert_eq!(contents.len(), 3, "two manifests, of which each is its own blob here, and a config");
        let found = find(&world, &"app".parse().expect("a name"), &digest("m2"));
        assert_eq!(found, Some(known(&["m2", "config"])));
    }

    #[test]
    fn saying_it_again_changes_nothing() {
        let once = world("app:v1=m1");
        let again = world("app:v1=m1 app:v1=m1");
        assert_eq!(once.revision(), again.revision());
    }
}
