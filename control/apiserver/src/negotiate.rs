//! What a client wants to be answered with, and in what form its body comes.

use api::{Kind, Reason, StatusError};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Json,
    /// A table for people, in this version of `meta.k8s.io`.
    Table(&'static str),
    /// The objects' metadata alone.
    Partial,
    /// Every group with its resources, in this version of `apidiscovery.k8s.io`.
    Discovery(&'static str),
}

/// What an endpoint can answer with beside plain JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Tables and partial metadata.
    Objects,
    /// Aggregated discovery.
    Discovery,
}

/// The encoding of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`, and what comes without a type.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// All that a manager wants: server-side apply.
    Apply,
}

const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
const CUSTOM_PATCH_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// The first clause of `Accept` that can be served.
pub(crate) fn form(accept: Option<&str>, offer: Offer) -> Result<Form, StatusError> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Json) };
    accept.split(',').find_map(|clause| serve(clause, offer)).ok_or_else(|| {
        StatusError::new(
            Reason::NotAcceptable,
            "only the following media types are accepted: application/json, application/json;as=Table;g=meta.k8s.io;v=v1",
        )
    })
}

fn serve(clause: &str, offer: Offer) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?;
    if !matches!(media, "application/json" | "*/*" | "application/*") {
        return None;
    }
    let (mut shape, mut group, mut version) = ("", "", "");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "as" => shape = value,
            "g" => group = value,
            "v" => version = value,
            _ => {}
        }
    }
    match (shape, group, version, offer) {
        ("", _, _, _) => Some(Form::Json),
        ("Table", "meta.k8s.io", "v1", Offer::Objects) => Some(Form::Table("v1")),
        ("Table", "meta.k8s.io", "v1beta1", Offer::Objects) => Some(Form::Table("v1beta1")),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1", Offer::Objects) => {
            Some(Form::Partial)
        }
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2", Offer::Discovery) => Some(Form::Discovery("v2")),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1", Offer::Discovery) => {
            Some(Form::Discovery("v2beta1"))
        }
        _ => None,
    }
}

/// How to read a body of this `Content-Type`.
pub(crate) fn encoding(content_type: Option<&str>) -> Result<Encoding, StatusError> {
    match media_type(content_type) {
        "" | "application/json" => Ok(Encoding::Json),
        "application/yaml" => Ok(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Encoding::Protobuf),
        _ => Err(unsupported("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
    }
}

/// How to read a patch of this `Content-Type` for an object of this kind.
pub(crate) fn patch_type(content_type: Option<&str>, kind: &dyn Kind) -> Result<PatchType, StatusError> {
    match media_type(content_type) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" if kind.patches_strategically() => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(unsupported_patch(kind)),
    }
}

/// The refusal of a patch whose type nobody can read there.
pub(crate) fn unsupported_patch(kind: &dyn Kind) -> StatusError {
    unsupported(if kind.patches_strategically() { PATCH_TYPES } else { CUSTOM_PATCH_TYPES })
}

fn media_type(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn unsupported(accepted: &str) -> StatusError {
    StatusError::new(
        Reason::UnsupportedMediaType,
        format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, offer: Offer, expect: Option<Form>) {
        assert_eq!(form(Some(accept), offer).ok(), expect, "{accept}");
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, Offer::Objects, Some(Form::Table("v1")));
        check(kubectl, Offer::Discovery, Some(Form::Json));
        check("application/json;g=meta.k8s.io;as=Table;v=v1beta1", Offer::Objects, Some(Form::Table("v1beta1")));
        check("application/vnd.kubernetes.protobuf,application/json", Offer::Objects, Some(Form::Json));
        check("application/vnd.kubernetes.protobuf, */*", Offer::Objects, Some(Form::Json));
        check("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Offer::Objects, Some(Form::Partial));
        check("text/html", Offer::Objects, None);
    }

    #[test]
    fn who_takes_nothing_but_protobuf_is_told_so() {
        for offer in [Offer::Objects, Offer::Discovery] {
            let refused = form(Some("application/vnd.kubernetes.protobuf"), offer).expect_err("answers are JSON");
            assert_eq!((refused.code(), refused.reason), (406, Reason::NotAcceptable));
            assert!(refused.message.starts_with("only the following media types are accepted: application/json"));
        }
    }

    #[test]
    fn discovery_is_aggregated_when_asked_for() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        check(kubectl, Offer::Discovery, Some(Form::Discovery("v2")));
        check("application/json, */*", Offer::Discovery, Some(Form::Json));
    }

    #[test]
    fn a_body_without_a_type_is_json() {
        assert_eq!(encoding(None), Ok(Encoding::Json));
        assert_eq!(encoding(Some("application/json; charset=utf-8")), Ok(Encoding::Json));
        assert!(encoding(Some("text/plain")).is_err());
    }

    #[test]
    fn a_patch_has_one_of_four_types() {
        let pods = api::catalog::by_kind(api::kinds::POD).expect("in the catalog");
        assert_eq!(patch_type(Some("application/merge-patch+json"), pods), Ok(PatchType::Merge));
        assert_eq!(patch_type(Some("application/apply-patch+yaml"), pods), Ok(PatchType::Apply));
        let refused = patch_type(Some("application/json"), pods).expect_err("that is an object");
        assert_eq!(refused.code(), 415);
        assert!(refused.message.ends_with(PATCH_TYPES));
    }
}
