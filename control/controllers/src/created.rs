//! New objects, admitted as if a client had sent them.

use api::{GroupKind, Object};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Look;
use crate::edit::from_tree;

/// The object to store for what a controller wants to exist; its uid follows from the look and its name.
pub(crate) fn created<T: Serialize>(kind: GroupKind, wanted: &T, look: Look) -> Result<Object, String> {
    let mut value = serde_json::to_value(wanted).map_err(|error| error.to_string())?;
    let metadata = &value["metadata"];
    let word = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (word("namespace"), word("name"));
    let uid = look.uid(&format!("{kind} {namespace}/{name}"));
    let metadata = &mut value["metadata"];
    metadata["uid"] = uid.into();
    metadata["creationTimestamp"] = json!(look.time());
    if value.get("spec").is_some_and(Value::is_object) {
        value["metadata"]["generation"] = 1.into();
    }
    from_tree(kind, value).ok_or_else(|| format!("{kind} {namespace}/{name} is not an object"))
}
