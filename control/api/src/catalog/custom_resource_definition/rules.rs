//! What a definition must be like, in Kubernetes' words.

use std::collections::BTreeSet;

use super::{names, versions};
use crate::custom::{Conversion, CustomResourceDefinition, DefinitionSpec};
use crate::rules::{Causes, NameRule};

/// Objects of all versions are the same but for their version.
pub(super) const CONVERSION_NONE: &str = "None";
/// What the makers of Kubernetes keep to themselves.
const PROTECTED: [&str; 2] = ["k8s.io", "kubernetes.io"];
const APPROVED: &str = "api-approved.kubernetes.io";

/// Adds everything wrong with a definition.
pub(super) fn validate(definition: &CustomResourceDefinition, causes: &mut Causes) {
    let spec = &definition.spec;
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        causes.invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    group(&spec.group, causes);
    causes.one_of("spec.scope", &spec.scope, &["Cluster", "Namespaced"]);
    if spec.preserve_unknown_fields == Some(true) {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.invalid("spec.preserveUnknownFields", true, detail);
    }
    all_versions(spec, causes);
    names::validate(&spec.names, causes);
    if let Some(conversion) = &spec.conversion {
        convertible(conversion, causes);
    }
    stored(definition, causes);
    approved(definition, causes);
}

fn group(group: &str, causes: &mut Causes) {
    if group.is_empty() {
        return causes.required("spec.group", "");
    }
    let problems = NameRule::Subdomain.problems(group);
    if !problems.is_empty() {
        causes.invalid("spec.group", group, &problems.join(","));
    } else if !group.contains('.') {
        causes.invalid("spec.group", group, "should be a domain with at least one dot");
    }
}

fn all_versions(spec: &DefinitionSpec, causes: &mut Causes) {
    for (index, version) in spec.versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let problems = NameRule::LetterLabel.problems(&version.name);
        if !problems.is_empty() {
            causes.invalid(format!("{path}.name"), &version.name, &problems.join(","));
        }
        versions::validate(version, &path, causes);
    }
    let names: BTreeSet<&str> = spec.versions.iter().map(|version| version.name.as_str()).collect();
    if names.len() != spec.versions.len() {
        causes.invalid("spec.versions", &spec.versions, "must contain unique version names");
    }
    if spec.versions.iter().filter(|version| version.storage).count() != 1 {
        causes.invalid("spec.versions", &spec.versions, "must have exactly one version marked as storage version");
    }
}

/// Versions differ in nothing but their name here; nobody is asked to make one out of another.
fn convertible(conversion: &Conversion, causes: &mut Causes) {
    causes.one_of("spec.conversion.strategy", &conversion.strategy, &[CONVERSION_NONE]);
    if conversion.strategy == CONVERSION_NONE && conversion.webhook.is_some() {
        causes.forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook");
    }
}

fn stored(definition: &CustomResourceDefinition, causes: &mut Causes) {
    let stored = definition.status.iter().flat_map(|status| &status.stored_versions);
    for (index, version) in stored.enumerate() {
        if definition.spec.versions.iter().all(|known| known.name != *version) {
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
            );
            causes.invalid(format!("status.storedVersions[{index}]"), version, &detail);
        }
    }
}

fn approved(definition: &CustomResourceDefinition, causes: &mut Causes) {
    let group = &definition.spec.group;
    let is_within = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !PROTECTED.iter().any(|domain| is_within(domain)) {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    let annotations = definition.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|annotations| annotations.get(APPROVED)).map_or("", String::as_str);
    let is_address = annotation.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !rest.starts_with('/')
            && !rest.is_empty()
    });
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if annotation.is_empty() {
        causes.required(path, &format!("protected groups must have approval annotation {APPROVED:?}, {see}"));
    } else if !annotation.starts_with("unapproved") && !is_address {
        let detail = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {see}"
        );
        causes.invalid(path, annotation, &detail);
    }
}
