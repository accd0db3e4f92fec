//! Worlds for tests, told in the API's own words.

use std::sync::Arc;

use api::{GroupKind, Object, Revision};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use state::Snapshot;

/// An object from its JSON.
pub(crate) fn object(json: &str) -> Object {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let group = value["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    let kind = GroupKind::interned(group, value["kind"].as_str().expect("a kind"));
    Object::from_value(kind, &value).expect("an object")
}

/// A world of these objects, each written at a revision of its own.
pub(crate) fn world(objects: impl IntoIterator<Item = Object>) -> Snapshot {
    let numbered = objects.into_iter().zip(1..).map(|(object, at)| object.at(Revision(at)));
    Snapshot::load(Revision::ZERO, numbered)
}

/// The pod `web` in `shop` with this spec.
pub(crate) fn pod(spec: &str) -> Pod {
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","namespace":"shop","uid":"u1",
            "labels":{{"app":"web"}},"annotations":{{"note":"x"}}}},"spec":{spec}}}"#
    );
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// The same, shared.
pub(crate) fn shared_pod(spec: &str) -> Arc<Pod> {
    Arc::new(pod(spec))
}
