//! Applying a patch of any of the three types that say what is to change.

use api::{Kind, StatusError};
use serde_json::Value;

use crate::negotiate::{self, PatchType};

/// What `document` becomes. Which lists merge by which key is a matter of the kind's type.
pub(crate) fn apply(
    kind: &dyn Kind,
    patch_type: PatchType,
    document: Value,
    patch: &Value,
) -> Result<Value, StatusError> {
    match patch_type {
        PatchType::Json => api::patch::json(document, patch),
        PatchType::Merge => api::patch::merge(document, patch),
        PatchType::Strategic => api::patch::strategic(kind.names(), document, patch),
        PatchType::Apply => Err(negotiate::unsupported_patch(kind)),
    }
}
