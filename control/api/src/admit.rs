//! From what a client sent to what is stored: read, complete, judge.
//!
//! The steps are the same for every kind. Reading drops what the type does not have and says so; the server's own fields are
//! taken from the server; defaults fill the gaps; then every rule is asked, and a refusal carries all that is wrong.

use k8s_openapi::Metadata;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::decode::{self, decode};
use crate::kind::{Admission, Admitted, FieldValidation, Names, Operation, Subresource};
use crate::resource::Resource;
use crate::rules::Causes;
use crate::{Cause, Details, GroupKind, Object, Reason, StatusError, catalog, metadata, schema};

/// Makes a stored object out of `incoming`, or says everything that is wrong with it.
pub(crate) fn admit<R: Resource>(incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError> {
    let names = R::NAMES;
    let (incoming, mut warnings) = read(names, incoming, admission.validation, admission.duplicates)?;
    let has_status = R::SUBRESOURCES.contains(&Subresource::Status);
    let value = match admission.operation {
        Operation::Create { uid, seed } => create(names, incoming, has_status, admission, uid, seed)?,
        Operation::Update { old } | Operation::Resize { old } => update(names, incoming, has_status, admission, old)?,
        Operation::UpdateStatus { old } => update_status(names, incoming, admission, old)?,
    };
    let mut object: R::Object = typed(names, value)?;
    R::default(&mut object);
    let mut causes = Causes::default();
    match admission.operation {
        Operation::Create { .. } => {
            R::prepare_create(&mut object);
            metadata::validate(names, R::NAME_RULE, object.metadata(), &mut causes);
            R::validate_create(&object, &mut causes);
            R::validate(&object, &mut causes);
        }
        Operation::Update { old } => {
            let before = old.decode::<R::Object>().map_err(StatusError::internal)?;
            R::prepare_update(&mut object, &before);
            metadata::validate(names, R::NAME_RULE, object.metadata(), &mut causes);
            metadata::validate_update(object.metadata(), old, &mut causes);
            R::validate(&object, &mut causes);
            R::validate_update(&object, &before, &mut causes);
        }
        Operation::Resize { old } => {
            let before = old.decode::<R::Object>().map_err(StatusError::internal)?;
            R::prepare_resize(&mut object, &before);
            metadata::validate_update(object.metadata(), old, &mut causes);
            R::validate(&object, &mut causes);
            R::validate_resize(&object, &before, &mut causes);
        }
        Operation::UpdateStatus { .. } => {}
    }
    let name = object.metadata().name.clone().unwrap_or_default();
    if !causes.is_empty() {
        return Err(StatusError::invalid(names, &name, causes.into_inner()));
    }
    if !matches!(admission.operation, Operation::UpdateStatus { .. }) {
        warnings.extend(R::warnings(&object));
    }
    let value = tree(&object)?;
    let value = if R::COUNTS_GENERATIONS { counted(value, admission.operation)? } else { value };
    let kind = GroupKind::new(names.group, names.kind);
    let admitted = Object::from_tree(kind, value).map_err(StatusError::internal)?;
    if R::COUNTS_GENERATIONS {
        object.metadata_mut().generation = Some(admitted.meta().generation);
    }
    let object = admitted.known_as(object);
    Ok(Admitted { object, warnings })
}

/// The refusal of a patch whose result cannot be read as its kind: Kubernetes blames the patch, as invalid, where it would call
/// a whole object a bad request. It shows the patch where only strict reading fails, else what came of it. Other refusals stay
/// what they are.
pub fn blame_patch(refusal: StatusError, patch: &str, patched: &str) -> StatusError {
    const UNREADABLE: &str = " cannot be handled as a ";
    const STRICT: &str = "strict decoding error: ";
    let words = refusal.message.split_once(UNREADABLE).and_then(|(_, rest)| rest.split_once(": "));
    match words {
        Some((_, why)) if refusal.reason == Reason::BadRequest => {
            let shown = if why.starts_with(STRICT) { patch } else { patched };
            let cause = Cause::invalid("patch", shown, why);
            StatusError {
                reason: Reason::Invalid,
                message: format!(" \"\" is invalid: patch: {}", cause.message),
                details: Some(Box::new(Details { causes: vec![cause], ..Details::default() })),
            }
        }
        _ => refusal,
    }
}

/// The object as its type, with what the type does not have judged by `validation`: the tree, and what deserves a sentence.
pub fn read(
    names: &Names,
    mut incoming: Value,
    validation: FieldValidation,
    duplicates: &[String],
) -> Result<(Value, Vec<String>), StatusError> {
    identify(names, &mut incoming)?;
    let decoded = decode(&schema::of_kind(names), incoming).map_err(|why| cannot_handle(names, &why))?;
    let warnings = judge_unknown(names, &decoded.unknown, validation, duplicates)?;
    Ok((decoded.value, warnings))
}

/// What a request wants done about fields that the kind does not have, or that are there twice.
pub(crate) fn judge_unknown(
    names: &Names,
    unknown: &[String],
    validation: FieldValidation,
    duplicates: &[String],
) -> Result<Vec<String>, StatusError> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let unknown = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let problems: Vec<String> = duplicates.chain(unknown).collect();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems),
        FieldValidation::Strict if problems.is_empty() => Ok(problems),
        FieldValidation::Strict => {
            Err(cannot_handle(names, &format!("strict decoding error: {}", problems.join(", "))))
        }
    }
}

/// Why it cannot be told from a body what it is, in the words of Go's decoder.
pub fn identity_complaint(body: &Value) -> Option<String> {
    let Some(members) = body.as_object() else {
        return Some(format!(
            "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            decode::described(body)
        ));
    };
    let wrong = |field: &str| {
        let given = members.get(field).filter(|given| !given.is_string() && !given.is_null())?;
        let what = decode::described(given);
        Some(format!("json: cannot unmarshal {what} into Go struct field .{field} of type string"))
    };
    wrong("apiVersion").or_else(|| wrong("kind"))
}

/// The endpoint says what the object is; the object may agree or be silent.
pub(crate) fn identify(names: &Names, incoming: &mut Value) -> Result<(), StatusError> {
    if let Some(why) = identity_complaint(incoming) {
        return Err(StatusError::bad_request(format!("couldn't get version/kind; json parse error: {why}")));
    }
    let Some(members) = incoming.as_object_mut() else { return Ok(()) };
    let said = |members: &Map<String, Value>, name: &str| {
        members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let version = names.api_version();
    match said(members, "apiVersion") {
        Some(given) if given != version => Err(mistaken(names, &given, said(members, "kind").as_deref())),
        _ => match said(members, "kind") {
            Some(given) if given != names.kind => Err(mistaken(names, &version, Some(&given))),
            _ => {
                members.insert("apiVersion".into(), version.into());
                members.insert("kind".into(), names.kind.into());
                Ok(())
            }
        },
    }
}

/// The refusal of a body that says it is something else than its endpoint.
fn mistaken(names: &Names, version: &str, kind: Option<&str>) -> StatusError {
    let expected = names.api_version();
    let kind = kind.unwrap_or(names.kind);
    let (group, number) = version.rsplit_once('/').unwrap_or(("", version));
    let known = catalog::all().iter().map(|known| known.names());
    if !known.clone().any(|known| (known.group, known.kind) == (names.group, names.kind)) && version == expected {
        // Somebody's own kind has no types to convert between.
        return StatusError::bad_request(format!(
            "{kind} in version {number:?} cannot be handled as a {ours}: converting ({kind}) to ({ours}): unknown conversion",
            ours = names.kind
        ));
    }
    let mut same = known.filter(|known| (known.group, known.kind, known.version) == (group, kind, number));
    let why = match same.next() {
        Some(known) if (known.group, known.kind) != (names.group, names.kind) => {
            let ours = package(names.group);
            format!("converting ({number}.{kind}) to ({ours}.{}): unknown conversion", names.kind)
        }
        Some(_) => {
            return StatusError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            ));
        }
        None if !catalog::all().iter().any(|known| known.names().group == names.group) => {
            return StatusError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            ));
        }
        // Where the tables of known kinds are is a part of Kubernetes' words.
        None => format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    StatusError::bad_request(format!("{kind} in version {number:?} cannot be handled as a {}: {why}", names.kind))
}

/// The package that holds a group's types in Kubernetes.
fn package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

pub(crate) fn cannot_handle(names: &Names, why: &str) -> StatusError {
    let kind = names.kind;
    StatusError::bad_request(format!("{kind} in version \"{}\" cannot be handled as a {kind}: {why}", names.version))
}

pub(crate) fn create(
    names: &Names,
    mut incoming: Value,
    has_status: bool,
    admission: &Admission<'_>,
    uid: &str,
    seed: u64,
) -> Result<Value, StatusError> {
    if has_status {
        drop_status(&mut incoming);
    }
    let metadata = metadata::object_of(&mut incoming)?;
    metadata::create(names, metadata, admission.namespace, uid, seed, admission.now)?;
    Ok(incoming)
}

pub(crate) fn update(
    names: &Names,
    mut incoming: Value,
    has_status: bool,
    admission: &Admission<'_>,
    old: &Object,
) -> Result<Value, StatusError> {
    let mut stored = tree_of(old)?;
    if has_status {
        drop_status(&mut incoming);
        if let (Some(members), Some(status)) = (incoming.as_object_mut(), stored.get_mut("status")) {
            members.insert("status".into(), status.take());
        }
    }
    let kept = std::mem::take(metadata::object_of(&mut stored)?);
    let metadata = metadata::object_of(&mut incoming)?;
    metadata::update(names, metadata, admission.namespace, old, &kept)?;
    Ok(incoming)
}

/// The status is the client's, all else is what is stored.
pub(crate) fn update_status(
    names: &Names,
    mut incoming: Value,
    admission: &Admission<'_>,
    old: &Object,
) -> Result<Value, StatusError> {
    let mut stored = tree_of(old)?;
    let kept = metadata::object_of(&mut stored)?.clone();
    let metadata = metadata::object_of(&mut incoming)?;
    metadata::update(names, metadata, admission.namespace, old, &kept)?;
    drop_status(&mut stored);
    if let (Some(members), Some(status)) = (stored.as_object_mut(), incoming.get_mut("status")) {
        members.insert("status".into(), status.take());
    }
    Ok(stored)
}

/// The generation counts changes of everything but metadata and status.
pub(crate) fn counted(mut value: Value, operation: Operation<'_>) -> Result<Value, StatusError> {
    let generation = match operation {
        Operation::Create { .. } => 1,
        Operation::UpdateStatus { old } => old.meta().generation,
        Operation::Update { old } | Operation::Resize { old } => {
            let same = wanted(&tree_of(old)?) == wanted(&value);
            old.meta().generation.max(1) + i64::from(!same)
        }
    };
    metadata::object_of(&mut value)?.insert("generation".into(), generation.into());
    Ok(value)
}

fn wanted(value: &Value) -> Vec<(&String, &Value)> {
    let members = value.as_object().into_iter().flatten();
    members.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status")).collect()
}

fn drop_status(value: &mut Value) {
    if let Some(members) = value.as_object_mut() {
        members.remove("status");
    }
}

/// The stored bytes as a tree, without a `resourceVersion`.
fn tree_of(object: &Object) -> Result<Value, StatusError> {
    serde_json::from_slice(object.body()).map_err(StatusError::internal)
}

fn tree(object: &impl Serialize) -> Result<Value, StatusError> {
    serde_json::to_value(object).map_err(StatusError::internal)
}

fn typed<T: DeserializeOwned>(names: &Names, value: Value) -> Result<T, StatusError> {
    serde_json::from_value(value).map_err(|why| cannot_handle(names, &why.to_string()))
}
