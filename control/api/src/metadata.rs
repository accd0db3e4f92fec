//! The rules of `metadata`: what the server sets, what clients may change, what is valid.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use crate::rules::{self, Causes, NameRule};
use crate::{Names, Object, Reason, Scope, StatusError};

/// What the end of a generated name is made of: no vowels, no look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How much is generated.
const SUFFIX_CHARS: usize = 5;
/// How much of `generateName` is kept, so that the whole fits a label.
const BASE_BYTES_MAX: usize = 58;

/// `base` with five characters that follow from `seed`.
pub fn generated_name(base: &str, seed: u64) -> String {
    let mut end = base.len().min(BASE_BYTES_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut state = seed;
    let suffix = (0..SUFFIX_CHARS).map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        char::from(ALPHABET[(mixed % ALPHABET.len() as u64) as usize])
    });
    base[..end].chars().chain(suffix).collect()
}

/// Refuses a write that was made for another version of the object: `incoming` names a `resourceVersion` that is not that of `old`.
pub fn check_version(names: &Names, incoming: &Value, old: &Object) -> Result<(), StatusError> {
    let given = incoming.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if given.is_empty() || given == old.revision().to_string() {
        return Ok(());
    }
    Err(StatusError::conflict(
        names,
        old.key().name(),
        "the object has been modified; please apply your changes to the latest version and try again",
    ))
}

/// Refuses an update that does not say which version it was made for, of a kind that demands it. Kubernetes names the resource
/// here, not the kind, and prints the missing version as the number that it is.
pub fn demand_version(names: &Names, incoming: &Value, name: &str) -> Result<(), StatusError> {
    let given = incoming.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() {
        return Ok(());
    }
    let mut causes = Causes::default();
    causes.invalid_go("metadata.resourceVersion", "0x0", "must be specified for an update");
    let of_resource = Names { kind: names.plural, ..names.clone() };
    Err(StatusError::invalid(&of_resource, name, causes.into_inner()))
}

/// What the server sets on a new object.
pub(crate) fn create(
    names: &Names,
    metadata: &mut Map<String, Value>,
    namespace: &str,
    uid: &str,
    seed: u64,
    now: Timestamp,
) -> Result<(), StatusError> {
    if metadata.contains_key("resourceVersion") {
        return Err(StatusError::new(Reason::Unknown, "resourceVersion should not be set on objects to be created"));
    }
    place(names, metadata, namespace)?;
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty()
        && let Some(base) = metadata.get("generateName").and_then(Value::as_str)
    {
        let name = generated_name(base, seed);
        metadata.insert("name".into(), name.into());
    }
    for ours in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"] {
        metadata.remove(ours);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    Ok(())
}

/// What an update may not touch is taken from the stored object.
pub(crate) fn update(
    names: &Names,
    metadata: &mut Map<String, Value>,
    namespace: &str,
    old: &Object,
    kept: &Map<String, Value>,
) -> Result<(), StatusError> {
    place(names, metadata, namespace)?;
    let key = old.key();
    match metadata.get("name").and_then(Value::as_str) {
        None | Some("") => {}
        Some(name) if name == key.name() => {}
        Some(name) => {
            return Err(StatusError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name()
            )));
        }
    }
    match metadata.get("uid").and_then(Value::as_str) {
        None | Some("") => {}
        Some(uid) if *uid == *old.meta().uid => {}
        Some(uid) => {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.meta().uid);
            return Err(StatusError::conflict(names, key.name(), &why));
        }
    }
    for ours in ["resourceVersion", "selfLink", "managedFields"] {
        metadata.remove(ours);
    }
    const KEPT: [&str; 7] = [
        "name",
        "generateName",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    for name in KEPT {
        match kept.get(name) {
            Some(value) => drop(metadata.insert(name.into(), value.clone())),
            None => drop(metadata.remove(name)),
        }
    }
    Ok(())
}

/// Puts the object into the namespace of the request.
fn place(names: &Names, metadata: &mut Map<String, Value>, namespace: &str) -> Result<(), StatusError> {
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if names.scope == Scope::Cluster {
        metadata.remove("namespace");
    } else if given.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    } else if given != namespace {
        return Err(StatusError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Everything wrong with an object's metadata.
pub(crate) fn validate(names: &Names, rule: NameRule, metadata: &ObjectMeta, causes: &mut Causes) {
    if let Some(base) = metadata.generate_name.as_deref().filter(|base| !base.is_empty()) {
        // What is generated goes on behind a dash.
        let base_alone = base.strip_suffix('-').map_or_else(|| base.to_owned(), |base| format!("{base}a"));
        for problem in rule.problems(&base_alone) {
            causes.invalid("metadata.generateName", base, &problem);
        }
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else {
        rule.check("metadata.name", name, causes);
    }
    if names.scope == Scope::Namespaced {
        rules::dns_label("metadata.namespace", metadata.namespace.as_deref().unwrap_or_default(), causes);
    }
    if let Some(labels) = &metadata.labels {
        rules::labels("metadata.labels", labels, causes);
    }
    if let Some(annotations) = &metadata.annotations {
        rules::annotations("metadata.annotations", annotations, causes);
    }
    owners(metadata, causes);
    finalizers(metadata.finalizers.as_deref().unwrap_or_default(), causes);
}

fn owners(metadata: &ObjectMeta, causes: &mut Causes) {
    let mut controllers = Vec::new();
    for owner in metadata.owner_references.iter().flatten() {
        let path = "metadata.ownerReferences";
        for (field, value) in
            [("apiVersion", &owner.api_version), ("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)]
        {
            if value.is_empty() {
                let what = if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                causes.invalid(format!("{path}.{field}"), value, what);
            }
        }
        if owner.controller == Some(true) {
            controllers.push(format!("{}/{}", owner.kind, owner.name));
        }
    }
    if controllers.len() > 1 {
        let told = "Only one reference can have Controller set to true. Found \"true\" in references for ";
        causes.invalid("metadata.ownerReferences", controllers.len(), &format!("{told}{}", controllers.join(" and ")));
    }
}

/// Finalizers that need no domain before their name.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn finalizers(finalizers: &[String], causes: &mut Causes) {
    let path = "metadata.finalizers";
    for finalizer in finalizers {
        for problem in rules::qualified_name(finalizer) {
            causes.invalid(path, finalizer, &problem);
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        causes.invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.invalid(format!("{path}[{index}]"), finalizer, detail);
        }
    }
}

/// Everything wrong with a change of an object's metadata.
pub(crate) fn validate_update(metadata: &ObjectMeta, old: &Object, causes: &mut Causes) {
    if !old.meta().is_terminating() {
        return;
    }
    let new: Vec<String> = metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|finalizer| !old.meta().finalizers.contains(finalizer))
        .map(|finalizer| format!("{finalizer:?}"))
        .collect();
    if !new.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        causes.forbidden("metadata.finalizers", &detail);
    }
}

/// The refusal of a write that a name in the request's path contradicts or that has none at all is a bad request.
pub(crate) fn object_of(value: &mut Value) -> Result<&mut Map<String, Value>, StatusError> {
    let root = value.as_object_mut().ok_or_else(|| StatusError::new(Reason::BadRequest, "not an object"))?;
    root.entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| StatusError::new(Reason::BadRequest, "metadata is not an object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_follows_from_its_seed() {
        let name = generated_name("gp-", 7);
        assert_eq!(name, generated_name("gp-", 7));
        assert_ne!(name, generated_name("gp-", 8));
        assert!(name.starts_with("gp-") && name.len() == 8);
        assert_eq!(generated_name(&"a".repeat(80), 1).len(), 63);
    }
}
