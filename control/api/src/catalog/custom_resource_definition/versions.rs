//! What a version of a custom kind must be like.

use serde_json::Value;

use super::structural;
use crate::custom::{DefinitionVersion, JsonPath, ScalePaths, Written};
use crate::rules::Causes;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// As Kubernetes has it.
const SELECTABLE_FIELDS_MAX: usize = 8;

/// Adds everything wrong with the version at `path`.
pub(super) fn validate(version: &DefinitionVersion, path: &str, causes: &mut Causes) {
    if version.deprecation_warning.is_some() {
        warning(version, &format!("{path}.deprecationWarning"), causes);
    }
    let schema_path = format!("{path}.schema.openAPIV3Schema");
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).map(Written::tree);
    let schema = schema.as_ref();
    match schema {
        None => causes.required(&schema_path, "schemas are required"),
        Some(schema) => structural::validate(schema, &schema_path, causes),
    }
    if let Some(scale) = version.subresources.as_ref().and_then(|parts| parts.scale.as_ref()) {
        places(scale, &format!("{path}.subresources.scale"), causes);
    }
    for (index, column) in version.additional_printer_columns.iter().enumerate() {
        printed(column, &format!("{path}.additionalPrinterColumns[{index}]"), causes);
    }
    let fields_path = format!("{path}.selectableFields");
    if version.selectable_fields.len() > SELECTABLE_FIELDS_MAX {
        causes.too_many(&fields_path, version.selectable_fields.len(), SELECTABLE_FIELDS_MAX);
    }
    for (index, field) in version.selectable_fields.iter().enumerate() {
        let path = format!("{fields_path}[{index}].jsonPath");
        let of = schema.and_then(|schema| at(schema, &field.json_path));
        let of = of.and_then(|schema| schema.get("type")).and_then(Value::as_str);
        if field.json_path.is_empty() {
            causes.required(path, "");
        } else if field.json_path.starts_with(".metadata") {
            causes.invalid(path, &field.json_path, "must not point to fields in metadata");
        } else if version.selectable_fields[..index].contains(field) {
            causes.duplicate(path, &field.json_path);
        } else if !matches!(of, Some("string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            causes.invalid(path, &field.json_path, detail);
        }
    }
}

/// The schema of the member that a plain path leads to.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.strip_prefix('.')?.split('.').try_fold(schema, |schema, step| schema.get("properties")?.get(step))
}

fn warning(version: &DefinitionVersion, path: &str, causes: &mut Causes) {
    /// As Kubernetes has it.
    const BYTES_MAX: usize = 256;
    let warning = version.deprecation_warning.as_deref().unwrap_or_default();
    if !version.deprecated {
        causes.invalid(path, warning, "can only be set for deprecated versions");
    } else if warning.is_empty() {
        causes.invalid(path, warning, "must not be an empty string");
    } else if warning.len() > BYTES_MAX {
        causes.invalid(path, warning, &format!("must be <= {BYTES_MAX} characters"));
    } else if warning.chars().any(char::is_control) {
        causes.invalid(path, warning, "must only contain printable UTF-8 characters; non-printable character found");
    }
}

fn places(scale: &ScalePaths, path: &str, causes: &mut Causes) {
    let required = [
        ("specReplicasPath", &scale.spec_replicas_path, ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", &scale.status_replicas_path, ".status.", "should be a json path under .status"),
    ];
    for (name, place, root, detail) in required {
        let path = format!("{path}.{name}");
        if place.is_empty() {
            causes.required(path, "");
        } else if is_simple(place, &path, causes) && !place.starts_with(root) {
            causes.invalid(path, place, detail);
        }
    }
    let Some(place) = scale.label_selector_path.as_deref().filter(|place| !place.is_empty()) else { return };
    let path = format!("{path}.labelSelectorPath");
    let is_below = place.starts_with(".spec.") || place.starts_with(".status.");
    if is_simple(place, &path, causes) && !is_below {
        causes.invalid(path, place, "should be a json path under either .spec or .status");
    }
}

fn printed(column: &Value, path: &str, causes: &mut Causes) {
    let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        causes.required(format!("{path}.name"), "");
    }
    match text("type") {
        "" => causes.required(format!("{path}.type"), &format!("must be one of {}", COLUMN_TYPES.join(","))),
        of if COLUMN_TYPES.contains(&of) => {}
        of => causes.invalid(format!("{path}.type"), of, &format!("must be one of {}", COLUMN_TYPES.join(","))),
    }
    let format = text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        causes.invalid(format!("{path}.format"), format, &format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    let path = format!("{path}.jsonPath");
    match text("jsonPath") {
        "" => causes.required(path, ""),
        place => {
            if is_simple(place, &path, causes)
                && let Err(why) = JsonPath::parse(place)
            {
                causes.invalid(path, place, &format!("must be a valid json path: {why}"));
            }
        }
    }
}

fn is_simple(place: &str, path: &str, causes: &mut Causes) -> bool {
    let is_simple = place.starts_with('.');
    if !is_simple {
        causes.invalid(path, place, "must be a simple json path starting with .");
    }
    is_simple
}
