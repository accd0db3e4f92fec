//! The `scale` subresource: how many replicas are wanted, how many there are, and which they are.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value, json};

use crate::selector::LabelSelector as Selector;
use crate::{Names, Object, StatusError};

/// The scale of an object that has `spec.replicas`, `status.replicas` and `spec.selector`.
pub(crate) fn of(object: &Object) -> Option<Value> {
    let value = object.to_value().ok()?;
    let stored = value.get("metadata")?;
    let mut metadata = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(known) = stored.get(name) {
            metadata.insert(name.into(), known.clone());
        }
    }
    let count = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let selector = selector(value.pointer("/spec/selector")?)?;
    Some(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": count("/spec/replicas")},
        "status": {"replicas": count("/status/replicas"), "selector": selector.to_string()},
    }))
}

/// A selector, which the oldest kind writes as the labels that it wants.
fn selector(written: &Value) -> Option<Selector> {
    if let Ok(labels) = serde_json::from_value::<BTreeMap<String, String>>(written.clone()) {
        return Some(Selector::equal_to(&labels));
    }
    let selector: LabelSelector = serde_json::from_value(written.clone()).ok()?;
    Selector::try_from(&selector).ok()
}

/// The object as a client would send it to have the scale's number of replicas, at the version the scale names.
pub(crate) fn set(names: &Names, object: &Object, scale: &Value) -> Result<Value, StatusError> {
    let mut value = object.to_value().map_err(StatusError::internal)?;
    value["spec"]["replicas"] = wanted(names, object, scale)?.into();
    at_version(&mut value, scale);
    Ok(value)
}

/// How many replicas a scale asks for.
pub(crate) fn wanted(names: &Names, object: &Object, scale: &Value) -> Result<i64, StatusError> {
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => 0,
        Some(replicas) => replicas.as_i64().ok_or_else(|| {
            StatusError::bad_request(format!(
                "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal {replicas} into Go struct field ScaleSpec.spec.replicas of type int32"
            ))
        })?,
    };
    if replicas < 0 {
        let cause = crate::Cause::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        let scale = Names { group: "autoscaling", kind: "Scale", ..names.clone() };
        return Err(StatusError::invalid(&scale, object.key().name(), vec![cause]));
    }
    Ok(replicas)
}

/// Whoever scales what was at some version means that version.
pub(crate) fn at_version(value: &mut Value, scale: &Value) {
    match scale.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        Some(version) if !version.is_empty() => value["metadata"]["resourceVersion"] = version.into(),
        _ => drop(value["metadata"].as_object_mut().and_then(|metadata| metadata.remove("resourceVersion"))),
    }
}
