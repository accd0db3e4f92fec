//! What is wrong with a question about access.

use api::Cause;
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec};

/// Go prints nothing so.
const NOTHING: &str = "null";

/// Everything wrong with a question about oneself.
pub(super) fn own(resource: Option<&ResourceAttributes>, path: Option<&NonResourceAttributes>) -> Vec<Cause> {
    match (resource, path) {
        (Some(_), Some(path)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            vec![Cause::invalid("spec.nonResourceAttributes", path, detail)]
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![Cause::invalid("spec.resourceAttributes", NOTHING, detail)]
        }
        _ => Vec::new(),
    }
}

/// Everything wrong with a question about another; `namespace` is the one that it is to be about, or empty.
pub(super) fn of(spec: &SubjectAccessReviewSpec, namespace: &str) -> Vec<Cause> {
    let mut causes = own(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    let is_nobody = spec.user.as_deref().is_none_or(str::is_empty) && spec.groups.as_ref().is_none_or(Vec::is_empty);
    if is_nobody {
        causes.push(Cause::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    if namespace.is_empty() {
        return causes;
    }
    if let Some(asked) = &spec.resource_attributes {
        let said = asked.namespace.as_deref().unwrap_or_default();
        if said != namespace {
            let detail = "must match metadata.namespace";
            causes.push(Cause::invalid("spec.resourceAttributes.namespace", said, detail));
        }
    }
    if let Some(path) = &spec.non_resource_attributes {
        causes.push(Cause::invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request"));
    }
    causes
}
