//! From what a client sent to what is stored, for custom resources: the steps of every kind, by their schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::kind::CustomKind;
use super::{complete, embedded, lists, prune, rules, validate, without_nulls};
use crate::admit::{cannot_handle, create, identify, judge_unknown, update, update_status};
use crate::decode::decode;
use crate::kind::{Admission, Admitted, Operation, Subresource};
use crate::rules::{Causes, NameRule};
use crate::{Kind, Object, StatusError, metadata};

/// What keeps rules from being asked, as Kubernetes has it.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];
const METADATA: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Makes a stored object out of `incoming`, or says everything that is wrong with it.
pub(super) fn admit(kind: &CustomKind, incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError> {
    let names = kind.names;
    let (incoming, warnings) = read(kind, incoming, admission)?;
    let has_status = kind.subresources().contains(&Subresource::Status);
    let mut value = match admission.operation {
        Operation::Create { uid, seed } => create(names, incoming, has_status, admission, uid, seed)?,
        Operation::Update { old } | Operation::Resize { old } => update(names, incoming, has_status, admission, old)?,
        Operation::UpdateStatus { old } => update_status(names, incoming, admission, old)?,
    };
    value["apiVersion"] = names.api_version().into();
    complete(&kind.schema, &mut value);
    let mut causes = Causes::default();
    let typed = ObjectMeta::deserialize(&value["metadata"]).map_err(StatusError::internal)?;
    metadata::validate(names, NameRule::Subdomain, &typed, &mut causes);
    let old = match admission.operation {
        Operation::Create { .. } => None,
        Operation::Update { old } | Operation::UpdateStatus { old } | Operation::Resize { old } => Some(old),
    };
    if let Some(old) = old {
        metadata::validate_update(&typed, old, &mut causes);
    }
    let before = old.map(|old| kind.tree(old));
    judge(kind, &value, before.as_ref(), &mut causes);
    if !causes.is_empty() {
        let name = typed.name.unwrap_or_default();
        return Err(StatusError::invalid(names, &name, causes.into_inner()));
    }
    let generation = generation(&value, before.as_ref(), has_status, admission.operation);
    metadata::object_of(&mut value)?.insert("generation".into(), generation.into());
    value["apiVersion"] = kind.stored_version.as_str().into();
    let object = Object::from_value(kind.group_kind(), &value).map_err(StatusError::internal)?;
    Ok(Admitted { object, warnings })
}

/// The object without what its schema does not have, which is told as the request wants it told.
fn read(
    kind: &CustomKind,
    mut incoming: Value,
    admission: &Admission<'_>,
) -> Result<(Value, Vec<String>), StatusError> {
    let names = kind.names;
    identify(names, &mut incoming)?;
    let mut unknown = Vec::new();
    if let Some(metadata) = incoming.get_mut("metadata").filter(|metadata| !metadata.is_null()) {
        let decoded = decode(METADATA, metadata.take()).map_err(|why| cannot_handle(names, &why))?;
        unknown.extend(decoded.unknown.into_iter().map(|path| format!("metadata.{path}")));
        *metadata = decoded.value;
    }
    prune(&kind.schema, &mut incoming, &mut unknown);
    let warnings = judge_unknown(names, &unknown, admission.validation, admission.duplicates)?;
    without_nulls(&kind.schema, &mut incoming);
    Ok((incoming, warnings))
}

/// Everything that the schema finds wrong.
fn judge(kind: &CustomKind, value: &Value, before: Option<&Value>, causes: &mut Causes) {
    causes.extend(validate(&kind.schema, value, before));
    lists::validate(&kind.schema, "", value, causes);
    embedded::validate(&kind.schema, "", value, causes);
    if kind.has_rules && causes.iter().any(|cause| BLOCKING.contains(&cause.reason)) {
        // An expression about a value of another type would only confuse.
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        causes.invalid("<nil>", Value::Null, detail);
    } else {
        rules::validate(&kind.schema, value, before, causes);
    }
}

/// The generation counts changes of everything but metadata, and but the status where that is a part of its own.
fn generation(value: &Value, before: Option<&Value>, has_status: bool, operation: Operation<'_>) -> i64 {
    let old = match operation {
        Operation::Update { old } | Operation::UpdateStatus { old } | Operation::Resize { old } => old,
        Operation::Create { .. } => return 1,
    };
    let Some(before) = before else { return 1 };
    let counted = |value: &Value| -> Map<String, Value> {
        let members = value.as_object().into_iter().flatten();
        let counts = |name: &str| name != "metadata" && name != "apiVersion" && !(has_status && name == "status");
        members.filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let is_same = counted(before) == counted(value);
    old.meta().generation.max(1) + i64::from(!is_same)
}
