//! Autoscalers as `autoscaling/v1` tells them: by the share of a processor alone.
//!
//! What that version has no words for goes into annotations, by which it comes back: as Kubernetes does it.

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use serde_json::{Map, Value, json};

use super::HorizontalPodAutoscalers;
use crate::version::Version;
use crate::{Kind, Names, Resource};

/// The version.
#[derive(Debug, Default)]
pub struct HorizontalPodAutoscalersV1;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

impl Version for HorizontalPodAutoscalersV1 {
    type Object = HorizontalPodAutoscaler;

    const NAMES: &'static Names = &Names { version: "v1", ..*HorizontalPodAutoscalers::NAMES };

    fn stored() -> &'static dyn Kind {
        &HorizontalPodAutoscalers
    }

    fn to_stored(mut said: Value) -> Value {
        let mut annotation = |name: &str| -> Option<Value> {
            let text = said.pointer_mut("/metadata/annotations")?.as_object_mut()?.remove(name)?;
            serde_json::from_str(text.as_str()?).ok()
        };
        let (metrics, behavior) = (annotation(METRICS), annotation(BEHAVIOR));
        let (current, conditions) = (annotation(CURRENT_METRICS), annotation(CONDITIONS));
        without_empty_annotations(&mut said);
        let share = take(&mut said, "spec", "targetCPUUtilizationPercentage");
        let own = share.map(|share| {
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}}})
        });
        let mut all: Vec<Value> = items(metrics).iter().map(|metric| renamed(metric, Side::Wanted, ToStored)).collect();
        all.extend(own);
        put(&mut said, "spec", "metrics", Some(all.into()).filter(is_told));
        put(&mut said, "spec", "behavior", behavior);
        let used = take(&mut said, "status", "currentCPUUtilizationPercentage");
        let own = used.map(
            |used| json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}),
        );
        let mut all: Vec<Value> = items(current).iter().map(|metric| renamed(metric, Side::Found, ToStored)).collect();
        all.extend(own);
        put(&mut said, "status", "currentMetrics", Some(all.into()).filter(is_told));
        put(&mut said, "status", "conditions", conditions);
        said
    }

    fn of_stored(mut stored: Value) -> Value {
        let (share, metrics) = split(take(&mut stored, "spec", "metrics"), "/resource/target/averageUtilization");
        let (used, current) =
            split(take(&mut stored, "status", "currentMetrics"), "/resource/current/averageUtilization");
        let behavior = take(&mut stored, "spec", "behavior");
        let conditions = take(&mut stored, "status", "conditions");
        put(&mut stored, "spec", "targetCPUUtilizationPercentage", share);
        put(&mut stored, "status", "currentCPUUtilizationPercentage", used);
        let metrics: Vec<Value> = metrics.iter().map(|metric| renamed(metric, Side::Wanted, OfStored)).collect();
        let current: Vec<Value> = current.iter().map(|metric| renamed(metric, Side::Found, OfStored)).collect();
        for (name, value) in [
            (METRICS, Some(metrics.into())),
            (BEHAVIOR, behavior),
            (CURRENT_METRICS, Some(current.into())),
            (CONDITIONS, conditions),
        ] {
            if let Some(value) = value.filter(is_told)
                && let Some(metadata) = stored.get_mut("metadata")
            {
                metadata["annotations"][name] = value.to_string().into();
            }
        }
        stored
    }
}

/// Metrics say what is wanted, or what was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Wanted,
    Found,
}

use Direction::{OfStored, ToStored};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToStored,
    OfStored,
}

fn is_told(value: &Value) -> bool {
    !matches!(value, Value::Null) && value.as_array().is_none_or(|items| !items.is_empty())
}

fn items(value: Option<Value>) -> Vec<Value> {
    value.and_then(|value| value.as_array().cloned()).unwrap_or_default()
}

fn take(value: &mut Value, part: &str, name: &str) -> Option<Value> {
    value.get_mut(part)?.as_object_mut()?.remove(name)
}

fn put(value: &mut Value, part: &str, name: &str, member: Option<Value>) {
    if let Some(member) = member
        && let Some(members) = value.as_object_mut()
    {
        members.entry(part).or_insert_with(|| Map::new().into())[name] = member;
    }
}

fn without_empty_annotations(said: &mut Value) {
    if let Some(metadata) = said.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        metadata.remove("annotations");
    }
}

/// The share of the processor, which this version has a word for, and all other metrics.
fn split(metrics: Option<Value>, share: &str) -> (Option<Value>, Vec<Value>) {
    let mut found = None;
    let mut others = Vec::new();
    for metric in items(metrics) {
        let is_processor = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
        match metric.pointer(share).filter(|share| is_processor && !share.is_null()) {
            Some(share) => found = Some(share.clone()),
            None => others.push(metric),
        }
    }
    (found, others)
}

/// A metric by the names of the other version: there the numbers stand beside what they are numbers of, here within a part.
fn renamed(metric: &Value, side: Side, direction: Direction) -> Value {
    let Some(members) = metric.as_object() else { return metric.clone() };
    let renamed = members.iter().map(|(name, source)| {
        let source = match source {
            Value::Object(_) if direction == ToStored => to_stored(name, source, side),
            Value::Object(_) => of_stored(name, source, side),
            other => other.clone(),
        };
        (name.clone(), source)
    });
    Value::Object(renamed.collect())
}

/// What the numbers are called there: the value, its average, and the average share.
fn numbers(side: Side) -> [(&'static str, &'static str, &'static str); 3] {
    match side {
        Side::Wanted => [
            ("targetValue", "value", "Value"),
            ("targetAverageValue", "averageValue", "AverageValue"),
            ("targetAverageUtilization", "averageUtilization", "Utilization"),
        ],
        Side::Found => [
            ("currentValue", "value", "Value"),
            ("currentAverageValue", "averageValue", "AverageValue"),
            ("currentAverageUtilization", "averageUtilization", "Utilization"),
        ],
    }
}

fn to_stored(kind: &str, source: &Value, side: Side) -> Value {
    let mut stored = Map::new();
    let mut amount = Map::new();
    for (name, value) in source.as_object().into_iter().flatten() {
        let number = numbers(side).into_iter().find(|(theirs, ..)| theirs == name);
        match (name.as_str(), number) {
            ("metricName", _) => metric_of(&mut stored)["name"] = value.clone(),
            ("metricSelector" | "selector", _) => metric_of(&mut stored)["selector"] = value.clone(),
            ("target", _) if kind == "object" => drop(stored.insert("describedObject".into(), value.clone())),
            // An object's average has no word of its own there.
            ("averageValue", _) if kind == "object" => drop(amount.insert("averageValue".into(), value.clone())),
            (_, Some((_, ours, of))) => {
                if side == Side::Wanted {
                    amount.insert("type".into(), of.into());
                }
                amount.insert(ours.into(), value.clone());
            }
            _ => drop(stored.insert(name.clone(), value.clone())),
        }
    }
    if side == Side::Wanted && amount.contains_key("averageValue") && kind == "object" {
        amount.insert("type".into(), "AverageValue".into());
        amount.remove("value");
    }
    let part = if side == Side::Wanted { "target" } else { "current" };
    stored.insert(part.into(), amount.into());
    stored.into()
}

fn metric_of(stored: &mut Map<String, Value>) -> &mut Value {
    stored.entry("metric").or_insert_with(|| Map::new().into())
}

fn of_stored(kind: &str, source: &Value, side: Side) -> Value {
    let part = if side == Side::Wanted { "target" } else { "current" };
    let mut told = Map::new();
    for (name, value) in source.as_object().into_iter().flatten() {
        match name.as_str() {
            "metric" => {
                told.extend(value.get("name").map(|name| ("metricName".to_owned(), name.clone())));
                let selector = if kind == "external" { "metricSelector" } else { "selector" };
                told.extend(value.get("selector").map(|found| (selector.to_owned(), found.clone())));
            }
            "describedObject" => drop(told.insert("target".into(), value.clone())),
            amount if amount == part => {
                for (theirs, ours, _) in numbers(side) {
                    let Some(number) = value.get(ours) else { continue };
                    let word = if kind == "object" && ours == "averageValue" { "averageValue" } else { theirs };
                    told.insert(word.into(), number.clone());
                }
                // That version demands the value of an object's metric even where its average counts.
                if kind == "object" {
                    told.entry(numbers(side)[0].0).or_insert_with(|| "0".into());
                }
            }
            _ => drop(told.insert(name.clone(), value.clone())),
        }
    }
    told.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: Value, shown: Value) {
        assert_eq!(HorizontalPodAutoscalersV1::of_stored(stored.clone()), shown);
        assert_eq!(HorizontalPodAutoscalersV1::to_stored(shown), stored);
    }

    fn cpu(share: i32) -> Value {
        json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}}})
    }

    #[test]
    fn the_share_of_a_processor_has_a_word_of_its_own() {
        check(
            json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 5, "metrics": [cpu(50)]}}),
            json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 50}}),
        );
    }

    #[test]
    fn what_has_no_word_goes_into_annotations() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
        let current = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}});
        check(
            json!({
                "metadata": {"annotations": {"mine": "x"}},
                "spec": {"metrics": [memory, pods, cpu(70)], "behavior": {"scaleDown": {"selectPolicy": "Max"}}},
                "status": {"currentMetrics": [current], "conditions": [{"type": "AbleToScale", "status": "True"}], "desiredReplicas": 2},
            }),
            json!({
                "metadata": {"annotations": {
                    "mine": "x",
                    METRICS: r#"[{"resource":{"name":"memory","targetAverageValue":"1Gi"},"type":"Resource"},{"pods":{"metricName":"requests","targetAverageValue":"10"},"type":"Pods"}]"#,
                    BEHAVIOR: r#"{"scaleDown":{"selectPolicy":"Max"}}"#,
                    CONDITIONS: r#"[{"status":"True","type":"AbleToScale"}]"#,
                }},
                "spec": {"targetCPUUtilizationPercentage": 70},
                "status": {"currentCPUUtilizationPercentage": 12, "desiredReplicas": 2},
            }),
        );
    }
}
