//! Something that happened to an object.

mod v1;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::Value;

use super::{NAME, integer, text, wide};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, cells, duration};

pub use v1::EventsV1;

/// The kind.
#[derive(Debug)]
pub struct Events;

impl Resource for Events {
    type Object = Event;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short: &["ev"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[
        text("Last Seen", "The time since it last happened."),
        text("Type", "Whether it is normal or a warning."),
        text("Reason", "What happened, in a word."),
        text("Object", "What it happened to."),
        wide(text("Subobject", "Which part it happened to.")),
        wide(text("Source", "Who says so.")),
        text("Message", "What happened, in a sentence."),
        wide(text("First Seen", "The time since it first happened.")),
        wide(integer("Count", "How often it happened.")),
        wide(NAME),
    ];
    const SELECTABLE: &'static [&'static str] = &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];

    fn validate(event: &Event, causes: &mut Causes) {
        let object = &event.involved_object;
        let about = object.namespace.as_deref().unwrap_or_default();
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        // What happens to objects outside namespaces is told in the default one, or where its teller lives.
        let fits = if about.is_empty() { matches!(namespace, "default" | "kube-system") } else { about == namespace };
        if !fits {
            causes.invalid("involvedObject.namespace", about, "does not match event.namespace");
        }
    }

    fn cells(event: &Event, now: Timestamp) -> Vec<Value> {
        let seen = |time: Option<Timestamp>| Value::from(duration::age(time, now));
        let told = event.event_time.as_ref().map(|time| time.0);
        let first = event.first_timestamp.as_ref().map(|time| time.0).or(told);
        let series = event.series.as_ref();
        let last = series.and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let last = last.or(event.last_timestamp.as_ref().map(|time| time.0)).or(first);
        let count = series.and_then(|series| series.count).or(event.count).unwrap_or(1).max(1);
        vec![
            seen(last),
            event.type_.as_deref().unwrap_or_default().into(),
            event.reason.as_deref().unwrap_or_default().into(),
            object(&event.involved_object).into(),
            event.involved_object.field_path.as_deref().unwrap_or_default().into(),
            source(event).into(),
            event.message.as_deref().unwrap_or_default().trim().into(),
            seen(first),
            count.into(),
            cells::name(&event.metadata),
        ]
    }

    fn fields(event: &Event) -> Vec<(&'static str, String)> {
        let object = &event.involved_object;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let component = event.source.as_ref().map(|source| text(&source.component)).filter(|name| !name.is_empty());
        vec![
            ("involvedObject.kind", text(&object.kind)),
            ("involvedObject.namespace", text(&object.namespace)),
            ("involvedObject.name", text(&object.name)),
            ("involvedObject.uid", text(&object.uid)),
            ("involvedObject.apiVersion", text(&object.api_version)),
            ("involvedObject.resourceVersion", text(&object.resource_version)),
            ("involvedObject.fieldPath", text(&object.field_path)),
            ("reason", text(&event.reason)),
            ("reportingComponent", text(&event.reporting_component)),
            ("source", component.unwrap_or_else(|| text(&event.reporting_component))),
            ("type", text(&event.type_)),
        ]
    }
}

fn object(reference: &ObjectReference) -> String {
    let kind = reference.kind.as_deref().unwrap_or_default().to_lowercase();
    match reference.name.as_deref() {
        None | Some("") => kind,
        Some(name) => format!("{kind}/{name}"),
    }
}

fn source(event: &Event) -> String {
    let source = event.source.as_ref();
    let component = source.and_then(|source| source.component.as_deref()).filter(|name| !name.is_empty());
    let component = component.or(event.reporting_component.as_deref()).unwrap_or_default();
    let host = source.and_then(|source| source.host.as_deref()).filter(|name| !name.is_empty());
    match host.or(event.reporting_instance.as_deref()) {
        None | Some("") => component.into(),
        Some(host) => format!("{component}, {host}"),
    }
}
