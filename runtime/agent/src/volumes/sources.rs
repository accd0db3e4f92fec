//! What a pod's volumes are made from, and whether it changed: a pure function of a pod and two snapshots.

use std::collections::BTreeSet;

use api::{Key, Revision, kinds};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use state::Snapshot;

/// The config maps and secrets of a pod's volumes, each as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    seen: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    key: Key,
    /// None while it is not there, which an optional source need not be.
    revision: Option<Revision>,
    /// It said that it will not change; whatever comes in its place is not looked at.
    is_immutable: bool,
}

// === impl Sources ===

impl Sources {
    /// The sources of a pod's volumes as `view` has them.
    pub(crate) fn of(pod: &Pod, view: &Snapshot) -> Self {
        let seen = keys(pod).into_iter().map(|key| Source::seen(key, view)).collect();
        Self { seen }
    }

    /// Looks again, and says whether anything is other than it was.
    pub(crate) fn look(&mut self, view: &Snapshot) -> bool {
        let mut changed = false;
        for source in self.seen.iter_mut().filter(|source| !source.is_immutable) {
            if view.get(&source.key).map(api::Object::revision) != source.revision {
                *source = Source::seen(source.key.clone(), view);
                changed = true;
            }
        }
        changed
    }
}

// === impl Source ===

impl Source {
    fn seen(key: Key, view: &Snapshot) -> Self {
        let object = view.get(&key);
        let is_immutable = object.is_some_and(|object| {
            let says = if key.kind() == kinds::SECRET {
                object.decode::<Secret>().ok().and_then(|secret| secret.immutable)
            } else {
                object.decode::<ConfigMap>().ok().and_then(|map| map.immutable)
            };
            says == Some(true)
        });
        Self { revision: object.map(api::Object::revision), is_immutable, key }
    }
}

/// The config maps and secrets that a pod mounts.
fn keys(pod: &Pod) -> BTreeSet<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.flat_map(|volume| of_volume(namespace, volume)).collect()
}

fn of_volume(namespace: &str, volume: &Volume) -> Vec<Key> {
    let map = |name: &str| kinds::CONFIG_MAP.key(namespace, name);
    let secret = |name: &str| kinds::SECRET.key(namespace, name);
    let mut keys = Vec::new();
    keys.extend(volume.config_map.iter().map(|source| map(&source.name)));
    keys.extend(volume.secret.iter().filter_map(|source| source.secret_name.as_deref()).map(secret));
    for projection in volume.projected.iter().flat_map(|source| source.sources.iter().flatten()) {
        keys.extend(projection.config_map.iter().map(|source| map(&source.name)));
        keys.extend(projection.secret.iter().map(|source| secret(&source.name)));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, pod};

    fn world(objects: &[(&str, u64)]) -> Snapshot {
        let objects = objects.iter().map(|(json, at)| object(json).at(Revision(*at)));
        Snapshot::load(Revision::ZERO, objects)
    }

    #[test]
    fn a_change_is_seen_once_and_an_immutable_source_not_at_all() {
        let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cfg","namespace":"shop"},"data":{}}"#;
        let fixed =
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key","namespace":"shop"},"immutable":true}"#;
        let other =
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other","namespace":"shop"},"data":{}}"#;
        let pod = pod(r#"{"containers":[],"volumes":[{"name":"a","configMap":{"name":"cfg"}},
                {"name":"b","projected":{"sources":[{"secret":{"name":"key"}},{"configMap":{"name":"late","optional":true}}]}}]}"#);
        let mut sources = Sources::of(&pod, &world(&[(map, 1), (fixed, 2)]));
        let mut check = |objects: &[(&str, u64)], expected: bool| {
            let view = world(objects);
            assert_eq!(sources.look(&view), expected, "{objects:?}");
            assert!(!sources.look(&view), "seen once: {objects:?}");
        };
        check(&[(map, 1), (fixed, 2), (other, 3)], false);
        check(&[(map, 4), (fixed, 2)], true);
        check(&[(map, 4), (fixed, 5)], false);
        check(&[(map, 4), (&map.replace("cfg", "late"), 6)], true);
        check(&[], true);
    }
}
