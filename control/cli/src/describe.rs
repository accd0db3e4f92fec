//! `coracle describe`: an object's story: who it is, what is wanted, what is true, and what happened to it.

use std::fmt::Write;

use api::{GroupKind, Object, kinds};
use client::ListOptions;
use jiff::Timestamp;
use serde_json::Value;

use crate::args::Describe;
use crate::get::aligned;
use crate::{access, what};

/// Metadata that is told by other lines, or to nobody.
const UNTOLD: [&str; 5] =
    ["kubectl.kubernetes.io/last-applied-configuration", "managedFields", "uid", "resourceVersion", "generation"];

pub(crate) async fn run(args: Describe, now: Timestamp) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let mut stories = Vec::new();
    for what in what::parse(&cluster.client, &args.what).await? {
        let objects = if what.name.is_some() {
            vec![cluster.client.get(&what.key(&cluster.namespace)?).await?]
        } else {
            let kind = GroupKind::interned(what.names.group, what.names.kind);
            cluster.client.list(kind, Some(&cluster.namespace), &ListOptions::default()).await?.0
        };
        for object in objects {
            let picked = format!("involvedObject.name={},involvedObject.uid={}", object.key().name(), uid(&object));
            let options = ListOptions { fields: Some(picked), labels: None };
            let namespace = Some(object.key().namespace()).filter(|namespace| !namespace.is_empty());
            let (events, _) = cluster.client.list(kinds::EVENT, namespace, &options).await?;
            let events: Vec<Value> = events.iter().filter_map(|event| event.to_value().ok()).collect();
            stories.push(story(&object.to_value()?, &events, now));
        }
    }
    print!("{}", stories.join("\n\n"));
    Ok(())
}

/// Events speak of a node by its name.
fn uid(object: &Object) -> &str {
    if object.key().kind() == kinds::NODE { object.key().name() } else { &object.meta().uid }
}

/// The story as text.
fn story(object: &Value, events: &[Value], now: Timestamp) -> String {
    let mut out = String::new();
    let metadata = &object["metadata"];
    field(&mut out, "Name", metadata["name"].as_str().unwrap_or_default());
    if let Some(namespace) = metadata["namespace"].as_str() {
        field(&mut out, "Namespace", namespace);
    }
    field(&mut out, "Kind", object["kind"].as_str().unwrap_or_default());
    for name in ["labels", "annotations"] {
        pairs(&mut out, name, &metadata[name]);
    }
    if let Some(created) = metadata["creationTimestamp"].as_str() {
        field(&mut out, "Created", &format!("{created} ({} ago)", age(created, now)));
    }
    if let Some(deleted) = metadata["deletionTimestamp"].as_str() {
        field(&mut out, "Terminating", &format!("since {deleted}"));
    }
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let told = |name: &str| owner[name].as_str().unwrap_or_default();
        field(&mut out, "Controlled By", &format!("{}/{}", told("kind"), told("name")));
    }
    let rest = object.as_object().into_iter().flatten();
    for (name, value) in
        rest.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "kind" | "apiVersion" | "status"))
    {
        tree(&mut out, 0, &heading(name), value, object["kind"] == "Secret");
    }
    if let Some(status) = object["status"].as_object() {
        let mut status = status.clone();
        let conditions = status.remove("conditions");
        tree(&mut out, 0, "Status", &Value::Object(status), false);
        if let Some(Value::Array(conditions)) = conditions {
            let _ = writeln!(out, "Conditions:");
            let told = conditions.iter().map(|condition| row(condition, &["type", "status", "reason", "message"]));
            out.push_str(&indented(&aligned(&with_heading(&["Type", "Status", "Reason", "Message"], told.collect()))));
        }
    }
    if events.is_empty() {
        field(&mut out, "Events", "<none>");
    } else {
        let _ = writeln!(out, "Events:");
        let mut told: Vec<(String, Vec<String>)> = events.iter().map(|event| event_row(event, now)).collect();
        told.sort();
        let told = told.into_iter().map(|(_, row)| row).collect();
        out.push_str(&indented(&aligned(&with_heading(&["Type", "Reason", "Age", "From", "Message"], told))));
    }
    out
}

fn field(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{:<16} {value}", format!("{name}:"));
}

fn pairs(out: &mut String, name: &str, value: &Value) {
    let pairs = value.as_object().into_iter().flatten();
    let told: Vec<String> = pairs
        .filter(|(name, _)| !UNTOLD.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let heading = heading(name);
    for (place, pair) in told.iter().enumerate() {
        let name = if place == 0 { format!("{heading}:") } else { String::new() };
        let _ = writeln!(out, "{name:<16} {pair}");
    }
    if told.is_empty() {
        field(out, &heading, "<none>");
    }
}

/// A value as an indented tree; a secret's values are told only by their length.
fn tree(out: &mut String, depth: usize, name: &str, value: &Value, secret: bool) {
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(members) if members.is_empty() => {}
        Value::Object(members) => {
            let _ = writeln!(out, "{margin}{name}:");
            for (name, value) in members {
                tree(out, depth + 1, name, value, secret);
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let told: Vec<String> = items.iter().map(plain).collect();
            let _ = writeln!(out, "{margin}{name}: {}", told.join(", "));
        }
        Value::Array(items) => {
            for item in items {
                let title = item["name"].as_str().or(item["type"].as_str());
                let title = title.map_or_else(|| name.to_owned(), |title| format!("{name} {title}"));
                tree(out, depth, &title, item, secret);
            }
        }
        Value::String(text) if secret && depth > 0 => {
            let _ = writeln!(out, "{margin}{name}: {} bytes of base64", text.len());
        }
        Value::String(text) if text.contains('\n') => {
            let _ = writeln!(out, "{margin}{name}:");
            for line in text.lines() {
                let _ = writeln!(out, "{margin}  {line}");
            }
        }
        other => {
            let _ = writeln!(out, "{margin}{name}: {}", plain(other));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn heading(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn with_heading(heading: &[&str], rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let rule = heading.iter().map(|name| "-".repeat(name.len())).collect();
    [heading.iter().map(ToString::to_string).collect(), rule].into_iter().chain(rows).collect()
}

fn row(value: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| value[*name].as_str().unwrap_or_default().to_owned()).collect()
}

/// When an event was last seen, and its row.
fn event_row(event: &Value, now: Timestamp) -> (String, Vec<String>) {
    let first_of = |names: &[&str]| names.iter().find_map(|name| event[*name].as_str()).unwrap_or_default().to_owned();
    let seen = first_of(&["lastTimestamp", "eventTime", "firstTimestamp"]);
    let mut told = age(&seen, now);
    if let Some(count) = event["count"].as_i64().filter(|count| *count > 1) {
        told = format!("{told} (x{count} over {})", age(&first_of(&["firstTimestamp"]), now));
    }
    let from = event["source"]["component"].as_str().or(event["reportingComponent"].as_str()).unwrap_or_default();
    let [kind, reason, message] =
        ["type", "reason", "message"].map(|name| event[name].as_str().unwrap_or_default().to_owned());
    (seen, vec![kind, reason, told, from.to_owned(), message.trim().to_owned()])
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn age(then: &str, now: Timestamp) -> String {
    let Ok(then) = then.parse::<Timestamp>() else { return "<unknown>".into() };
    let seconds = now.as_second() - then.as_second();
    match seconds {
        ..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_story_has_identity_wishes_facts_and_events() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "main", "args": ["a", "b"]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let events = [json!({"type": "Normal", "reason": "Started", "message": "Started container main", "count": 3,
            "firstTimestamp": "2026-01-01T00:01:00Z", "lastTimestamp": "2026-01-01T00:09:30Z", "source": {"component": "kubelet"}})];
        let told = story(&object, &events, now);
        for line in [
            "Name:            web",
            "Labels:          app=web",
            "Created:         2026-01-01T00:00:00Z (10m ago)",
            "Spec:",
            "  containers main:",
            "    args: a, b",
            "  phase: Running",
            "  Ready   True",
            "(x3 over 9m)   kubelet   Started container main",
        ] {
            assert!(told.contains(line), "{line:?} is missing in\n{told}");
        }
    }

    #[test]
    fn secrets_are_not_told() {
        let object = json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}});
        let told = story(&object, &[], Timestamp::UNIX_EPOCH);
        assert!(!told.contains("aHVudGVyMg") && told.contains("password: 12 bytes of base64"), "{told}");
    }
}
