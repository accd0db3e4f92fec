//! Events as `events.k8s.io/v1` tells them: the same stories with other words for their parts.

use k8s_openapi::api::events::v1::Event;
use serde_json::{Map, Value};

use super::Events;
use crate::rules::{self, Causes};
use crate::version::Version;
use crate::{Kind, Names, Scope};

/// The version.
#[derive(Debug, Default)]
pub struct EventsV1;

/// What each part is called here, and in the version that is stored.
const WORDS: [Word; 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

type Word = (&'static str, &'static str);

/// As Kubernetes has it.
const WORD_CHARS_MAX: usize = 128;
/// As Kubernetes has it.
const NOTE_CHARS_MAX: usize = 1024;

impl Version for EventsV1 {
    type Object = Event;

    const NAMES: &'static Names = &Names {
        group: "events.k8s.io",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short: &["ev"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SELECTABLE: &'static [(&'static str, &'static str)] = &[
        ("reason", "reason"),
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reportingController", "reportingComponent"),
        ("type", "type"),
    ];

    fn stored() -> &'static dyn Kind {
        &Events
    }

    fn to_stored(said: Value) -> Value {
        let mut stored = renamed(said, |(own, stored)| (own, stored));
        if let Some(members) = stored.as_object_mut() {
            // The version that is stored has this one always.
            members.entry("involvedObject").or_insert_with(|| Map::new().into());
        }
        stored
    }

    fn of_stored(stored: Value) -> Value {
        let mut said = renamed(stored, |(own, stored)| (stored, own));
        if let Some(members) = said.as_object_mut() {
            // This one is always told, by a null where nobody said it.
            members.entry("eventTime").or_insert(Value::Null);
        }
        said
    }

    fn validate_create(said: &Value, causes: &mut Causes) {
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        let controller = text("reportingController");
        if controller.is_empty() {
            causes.required("reportingController", "");
        } else {
            for problem in rules::qualified_name(controller) {
                causes.invalid("reportingController", controller, &problem);
            }
        }
        for name in ["reportingInstance", "action", "reason"] {
            if text(name).is_empty() {
                causes.required(name, "");
            }
            if text(name).chars().count() > WORD_CHARS_MAX {
                causes.invalid(name, "", &format!("can have at most {WORD_CHARS_MAX} characters"));
            }
        }
        if text("note").chars().count() > NOTE_CHARS_MAX {
            causes.invalid("message", "", &format!("can have at most {NOTE_CHARS_MAX} characters"));
        }
        if text("eventTime").is_empty() {
            causes.required("eventTime", "");
        }
        if let Some(series) = said.get("series") {
            let count = series.get("count").and_then(Value::as_i64).unwrap_or(0);
            if count < 2 {
                causes.invalid("series.count", "", "should be at least 2");
            }
            if series.get("lastObservedTime").is_none_or(Value::is_null) {
                causes.required("series.lastObservedTime", "");
            }
        }
        if !matches!(text("type"), "Normal" | "Warning") {
            causes.invalid("type", "", &format!("has invalid value: {}", text("type")));
        }
        for (own, stored) in &WORDS[..4] {
            if said.get(*own).is_some_and(|value| !value.is_null()) {
                causes.invalid(*stored, "", "needs to be unset");
            }
        }
    }
}

/// The same members by other names.
fn renamed(value: Value, direction: fn(Word) -> Word) -> Value {
    let Value::Object(members) = value else { return value };
    let name = |name: String| {
        let other = WORDS.into_iter().map(direction).find(|(from, _)| *from == name);
        other.map_or(name, |(_, to)| to.into())
    };
    Value::Object(members.into_iter().map(|(word, value)| (name(word), value)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::{Operation, catalog};

    fn create(value: Value) -> Result<Value, String> {
        let kind = catalog::by_resource("events.k8s.io", "v1", "events").expect("in the catalog");
        let admitted = kind.admit(value, &admission(Operation::Create { uid: "u-1", seed: 1 }, "shop"));
        admitted.map(|admitted| tree(&kind.shown(&admitted.object))).map_err(|refused| refused.message)
    }

    fn told() -> Value {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "shop"},
            "eventTime": "2026-11-21T05:13:14.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1",
            "action": "Binding", "reason": "Bound", "type": "Normal", "note": "It is bound.",
            "regarding": {"kind": "Pod", "namespace": "shop", "name": "p"},
        })
    }

    #[test]
    fn what_is_told_in_one_version_is_read_in_both() {
        let kind = catalog::by_resource("events.k8s.io", "v1", "events").expect("in the catalog");
        let admitted =
            kind.admit(told(), &admission(Operation::Create { uid: "u-1", seed: 1 }, "shop")).expect("valid");
        let stored = tree(&admitted.object);
        assert_eq!((&stored["apiVersion"], &stored["message"]), (&json!("v1"), &json!("It is bound.")));
        assert_eq!(stored["involvedObject"]["name"], "p");
        let shown = create(told()).expect("valid");
        for name in ["apiVersion", "note", "regarding", "reportingController", "eventTime"] {
            assert_eq!(shown[name], told()[name], "{name}");
        }
        let fields = kind.fields(&admitted.object);
        assert!(fields.contains(&("regarding.name", "p".into())), "{fields:?}");
    }

    #[test]
    fn this_version_wants_to_know_more() {
        let refused = |name: &str, value: Value| create(plus(told(), name, value)).expect_err("refused");
        assert_eq!(refused("/action", json!("")), "Event.events.k8s.io \"e\" is invalid: action: Required value");
        assert_eq!(
            refused("/deprecatedCount", json!(2)),
            "Event.events.k8s.io \"e\" is invalid: count: Invalid value: \"\": needs to be unset"
        );
        assert!(refused("/message", json!("x")).contains("unknown field \"message\""));
    }
}
