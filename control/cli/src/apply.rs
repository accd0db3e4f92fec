//! `coracle apply`: objects become what files say, and keep what others decided.
//!
//! As with `kubectl apply`, what was applied last is kept in an annotation, so that a field which was removed from a file is
//! removed from the object, and `kubectl` and `coracle` may take turns. What goes to the server is a strategic merge patch:
//! the file's words, and a deletion for every word that the last file had and this one has not.

use std::time::Duration;

use anyhow::Context;
use api::custom::CustomResourceDefinition;
use api::patch::facts;
use api::schema::{Message, Type};
use api::{Key, Names, Object, kinds};
use client::Client;
use http::Method;
use serde_json::{Map, Value, json};

use crate::access;
use crate::args::Apply;
use crate::{manifests, push, verbs, what};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A field that a kind does not have is an error, as it is with kubectl.
const STRICT: &str = "fieldValidation=Strict";

/// A definition takes some milliseconds to be served; a busy machine gets more.
const SERVED_PATIENCE: Duration = Duration::from_secs(10);

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Configured,
    Unchanged,
}

pub(crate) async fn run(args: Apply) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let mut manifests = manifests::read(&args.files)?;
    push::push_local(&cluster.client, &mut manifests).await?;
    for manifest in &manifests {
        let (key, outcome) = one(&cluster.client, &manifest.object, &cluster.namespace).await?;
        let told = match outcome {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
        };
        let names = cluster.client.names(key.kind()).await?;
        println!("{} {told}", what::told(names, key.name()));
    }
    Ok(())
}

/// Applies one object.
pub(crate) async fn one(client: &Client, object: &Value, namespace: &str) -> anyhow::Result<(Key, Outcome)> {
    let key = verbs::manifest_key(client, object, namespace).await?;
    let names = client.names(key.kind()).await?;
    let told = || format!("cannot apply {}", what::told(names, key.name()));
    let mut wanted = object.clone();
    if !key.namespace().is_empty() {
        wanted["metadata"]["namespace"] = key.namespace().into();
    }
    let last = format!("{wanted}\n");
    wanted["metadata"]["annotations"][LAST_APPLIED] = last.into();
    let live = match client.get(&key).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => {
            create(client, names, &key, &wanted).await.with_context(told)?;
            served(client, &key).await?;
            return Ok((key, Outcome::Created));
        }
        Err(error) => return Err(error).with_context(told),
    };
    let applied = live.meta().annotations.get(LAST_APPLIED).and_then(|last| serde_json::from_str(last).ok());
    let schema = api::schema::message(&api::schema::of_kind(names));
    let patch = patch(schema, &applied.unwrap_or(Value::Null), &wanted);
    let path = format!("{}?{STRICT}", client::object_path(&key, names));
    // What a definition taught the server has no keys that a strategic patch would go by.
    let is_known = api::catalog::by_kind(key.kind()).is_some();
    let type_ = if is_known { "application/strategic-merge-patch+json" } else { "application/merge-patch+json" };
    let after = client.send(Method::PATCH, &path, Some(type_), patch.to_string()).await.with_context(told)?;
    let outcome = if Object::parse(key.kind(), after)?.revision() == live.revision() {
        Outcome::Unchanged
    } else {
        Outcome::Configured
    };
    Ok((key, outcome))
}

async fn create(client: &Client, names: &Names, key: &Key, wanted: &Value) -> anyhow::Result<()> {
    let path = format!("{}?{STRICT}", client::collection_path(names, Some(key.namespace()), &[]));
    client.send(Method::POST, &path, Some("application/json"), wanted.to_string()).await?;
    Ok(())
}

/// Objects of a kind that was defined just now may follow in the same file: waits until they would be taken.
async fn served(client: &Client, key: &Key) -> anyhow::Result<()> {
    if key.kind() != kinds::CUSTOM_RESOURCE_DEFINITION {
        return Ok(());
    }
    let is_settled = |object: Option<&Object>| {
        let definition = object.and_then(|object| object.decode::<CustomResourceDefinition>().ok());
        let said = definition.as_ref().and_then(|definition| definition.status.as_ref());
        said.is_none_or(|status| !status.conditions.is_empty()).then_some(())
    };
    let settled = verbs::watch_until(client, key, is_settled);
    // Whoever is refused its names says so itself when its objects come.
    let _ = tokio::time::timeout(SERVED_PATIENCE, settled).await;
    Ok(())
}

/// The type of an object or of a part of it, as far as it is known.
type Schema = Option<&'static Message>;

/// What makes an object that was once `last` into `wanted` and leaves the rest alone. `schema` names the type of both.
fn patch(schema: Schema, last: &Value, wanted: &Value) -> Value {
    match (last, wanted) {
        (Value::Object(last), Value::Object(wanted)) => members(schema, last, wanted),
        (_, wanted) => wanted.clone(),
    }
}

fn members(schema: Schema, last: &Map<String, Value>, wanted: &Map<String, Value>) -> Value {
    let mut patch = Map::new();
    for (name, value) in wanted {
        let field = schema.and_then(|schema| schema.member(name));
        let inner = field.and_then(|field| match field.of {
            Type::Message(inner) => api::schema::message(inner),
            _ => None,
        });
        let facts = schema.zip(field).and_then(|(schema, field)| facts::of(schema, field));
        let key = facts.map(|facts| facts.merge_key).filter(|key| !key.is_empty());
        let before = last.get(name).unwrap_or(&Value::Null);
        let value = match (key, value) {
            (Some(key), Value::Array(items)) => list(inner, key, before.as_array().map_or(&[], Vec::as_slice), items),
            (_, value) => self::patch(inner, before, value),
        };
        patch.insert(name.clone(), value);
    }
    for name in last.keys().filter(|name| !wanted.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// A list whose items have names: each wanted one, and a deletion for each that is wanted no more. Where the names do not
/// tell the items apart, as with a port that is served over TCP and UDP, the list is taken as a whole.
fn list(schema: Schema, key: &str, last: &[Value], wanted: &[Value]) -> Value {
    let repeats = |items: &[Value]| {
        items.iter().enumerate().any(|(at, item)| items[..at].iter().any(|other| other[key] == item[key]))
    };
    if repeats(last) || repeats(wanted) {
        return std::iter::once(json!({"$patch": "replace"})).chain(wanted.iter().cloned()).collect();
    }
    let find = |items: &[Value], item: &Value| items.iter().find(|other| other[key] == item[key]).cloned();
    let kept = wanted.iter().map(|item| patch(schema, &find(last, item).unwrap_or(Value::Null), item));
    let gone = last.iter().filter(|item| find(wanted, item).is_none());
    let gone = gone.map(|item| json!({"$patch": "delete", key: item[key]}));
    kept.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: Value, wanted: Value, expect: Value) {
        assert_eq!(patch(api::schema::message("api.apps.v1.Deployment"), &last, &wanted), expect);
    }

    #[test]
    fn what_is_left_out_is_deleted_and_what_was_never_said_is_left_alone() {
        check(
            json!({"spec": {"replicas": 2, "paused": true}}),
            json!({"spec": {"paused": true}}),
            json!({"spec": {"replicas": null, "paused": true}}),
        );
        check(Value::Null, json!({"spec": {"paused": true}}), json!({"spec": {"paused": true}}));
    }

    #[test]
    fn items_go_by_their_key() {
        let spec = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        check(
            spec(json!([{"name": "a", "image": "x", "args": ["1"]}, {"name": "b"}])),
            spec(json!([{"name": "a", "image": "y"}])),
            spec(json!([{"name": "a", "image": "y", "args": null}, {"$patch": "delete", "name": "b"}])),
        );
    }

    #[test]
    fn items_that_their_key_does_not_tell_apart_are_replaced_together() {
        let ports = json!([{"name": "tcp", "port": 7}, {"name": "udp", "port": 7, "protocol": "UDP"}]);
        let service = json!({"spec": {"ports": ports.clone()}});
        let expect = json!({"spec": {"ports": [{"$patch": "replace"}, ports[0], ports[1]]}});
        assert_eq!(patch(api::schema::message("api.core.v1.Service"), &service, &service), expect);
    }
}
