//! The scale of custom resources: their definition says where its numbers are.

use serde_json::{Map, Value, json};

use super::definition::ScalePaths;
use crate::{Names, Object, StatusError};

/// Where the numbers of a scale are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    wanted: Vec<String>,
    found: Vec<String>,
    selector: Option<Vec<String>>,
}

// === impl Places ===

impl Places {
    /// Where the definition says they are.
    pub(super) fn new(paths: &ScalePaths) -> Self {
        let steps = |path: &str| path.trim_start_matches('.').split('.').map(Into::into).collect();
        Self {
            wanted: steps(&paths.spec_replicas_path),
            found: steps(&paths.status_replicas_path),
            selector: paths.label_selector_path.as_deref().filter(|path| !path.is_empty()).map(steps),
        }
    }

    /// The scale of an object.
    pub(super) fn of(&self, object: &Value) -> Option<Value> {
        let stored = object.get("metadata")?;
        let mut metadata = Map::new();
        for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(known) = stored.get(name) {
                metadata.insert(name.into(), known.clone());
            }
        }
        let wanted = at(object, &self.wanted)?.as_i64()?;
        let found = at(object, &self.found).and_then(Value::as_i64).unwrap_or(0);
        let mut status = json!({"replicas": found});
        let selector = self.selector.as_ref().and_then(|path| at(object, path)).and_then(Value::as_str);
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            status["selector"] = selector.into();
        }
        Some(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
            "spec": {"replicas": wanted}, "status": status,
        }))
    }

    /// The object as a client would send it to have the scale's number of replicas.
    pub(super) fn set(
        &self,
        names: &Names,
        object: &Object,
        mut tree: Value,
        scale: &Value,
    ) -> Result<Value, StatusError> {
        let replicas = crate::scale::wanted(names, object, scale)?;
        put(&mut tree, &self.wanted, replicas.into());
        crate::scale::at_version(&mut tree, scale);
        Ok(tree)
    }

    /// Where the wanted number is, as the definition writes it.
    pub(super) fn wanted(&self) -> String {
        format!(".{}", self.wanted.join("."))
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| value.get(step))
}

fn put(value: &mut Value, path: &[String], number: Value) {
    match path {
        [] => *value = number,
        [step, rest @ ..] => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            put(&mut value[step.as_str()], rest, number);
        }
    }
}
