//! Changing an object by a patch of three kinds: a list of operations, a tree to merge, a tree to merge by the schema.
//!
//! A patch turns one tree into another; whether the result is a valid object is for admission to say.

pub mod facts;
mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::decode::described;
use crate::schema::{self, Message};
use crate::{Names, Reason, StatusError};

/// As many operations as a JSON patch may have.
const OPERATIONS_MAX: usize = 10_000;

/// As Kubernetes has it: so much a patch may copy, or a few operations that copy what they have copied fill any memory.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch (RFC 6902) to `document`.
pub fn json(mut document: Value, patch: &Value) -> Result<Value, StatusError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > OPERATIONS_MAX {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(StatusError::new(Reason::RequestEntityTooLarge, message));
    }
    if !patch.is_array() {
        let what = described(patch);
        let why = format!("json: cannot unmarshal {what} into Go value of type []interface {{}}");
        return Err(StatusError::bad_request(format!("error decoding patch: {why}")));
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|why| StatusError::bad_request(format!("error decoding patch: {why}")))?;
    let mut copied = 0;
    for operation in &operations.0 {
        if let PatchOperation::Copy(copy) = operation {
            copied += document.pointer(copy.from.as_str()).map_or(0, size);
            if copied > COPIED_BYTES_MAX {
                return Err(rejected());
            }
        }
        json_patch::patch(&mut document, std::slice::from_ref(operation)).map_err(|_| rejected())?;
    }
    Ok(document)
}

/// How long a value is when it is written.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail, and a tree is always JSON.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Applies a merge patch (RFC 7396) to `document`.
pub fn merge(mut document: Value, patch: &Value) -> Result<Value, StatusError> {
    if !patch.is_object() {
        return Err(StatusError::bad_request("error decoding patch: a merge patch must be an object"));
    }
    json_patch::merge(&mut document, patch);
    Ok(document)
}

/// Applies a strategic merge patch to an object of a kind.
pub fn strategic(names: &Names, document: Value, patch: &Value) -> Result<Value, StatusError> {
    strategic_of(schema::message(&schema::of_kind(names)), document, patch)
}

/// Applies a strategic merge patch to a value of a type; without one, lists are replaced.
pub fn strategic_of(message: Option<&Message>, document: Value, patch: &Value) -> Result<Value, StatusError> {
    let (Value::Object(live), Value::Object(patch)) = (document, patch) else {
        return Err(StatusError::bad_request("error decoding patch: a strategic merge patch must be an object"));
    };
    Ok(Value::Object(strategic::objects(message, live, patch)?))
}

/// A patch that cannot be applied to this object. Kubernetes does not say why.
fn rejected() -> StatusError {
    StatusError {
        reason: Reason::Invalid,
        message: "the server rejected our request due to an error in our request".into(),
        details: Some(Box::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let document = json!({"spec": {"replicas": 1, "list": [1, 2]}});
        let patch = json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 2},
            {"op": "add", "path": "/spec/list/-", "value": 3}, {"op": "remove", "path": "/spec/list/0"}]);
        assert_eq!(json(document.clone(), &patch), Ok(json!({"spec": {"replicas": 2, "list": [2, 3]}})));
        let refused =
            json(document.clone(), &json!([{"op": "remove", "path": "/nope"}])).expect_err("there is no such member");
        assert_eq!(
            (refused.code(), refused.message.as_str()),
            (422, "the server rejected our request due to an error in our request")
        );
        assert_eq!(json(document.clone(), &json!([{"op": "paint"}])).map_err(|refused| refused.code()), Err(400));
        let many = Value::Array(vec![json!({"op": "test", "path": "/spec/replicas", "value": 1}); OPERATIONS_MAX + 1]);
        assert_eq!(json(document, &many).map_err(|refused| refused.code()), Err(413));
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_by_null() {
        let document = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"list": [1, 2]}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"list": [3]}});
        assert_eq!(
            merge(document, &patch),
            Ok(json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {"list": [3]}}))
        );
        assert!(merge(json!({}), &json!([])).is_err());
    }
}
