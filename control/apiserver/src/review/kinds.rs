//! What reviews there are, as discovery and OpenAPI tell of them.

use api::{Names, Scope};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use schemars::{Schema, SchemaGenerator};

/// A kind that is posted to, answered and not kept.
#[derive(Debug)]
pub(crate) struct Review {
    /// What it is called.
    pub(crate) names: &'static Names,
    /// Its OpenAPI schema; what it refers to is left with the generator.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Every review.
pub(crate) static REVIEWS: [&Review; 6] = [&TOKEN, &MYSELF, &LOCAL_ACCESS, &OWN_ACCESS, &OWN_RULES, &ACCESS];

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

static TOKEN: Review = Review {
    names: &named(AUTHENTICATION, "TokenReview", "tokenreviews", "tokenreview"),
    schema: SchemaGenerator::subschema_for::<TokenReview>,
};
pub(super) static MYSELF: Review = Review {
    names: &named(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    schema: SchemaGenerator::subschema_for::<SelfSubjectReview>,
};
pub(super) static LOCAL_ACCESS: Review = Review {
    names: &Names {
        scope: Scope::Namespaced,
        ..named(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview")
    },
    schema: SchemaGenerator::subschema_for::<LocalSubjectAccessReview>,
};
pub(super) static OWN_ACCESS: Review = Review {
    names: &named(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"),
    schema: SchemaGenerator::subschema_for::<SelfSubjectAccessReview>,
};
pub(super) static OWN_RULES: Review = Review {
    names: &named(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"),
    schema: SchemaGenerator::subschema_for::<SelfSubjectRulesReview>,
};
pub(super) static ACCESS: Review = Review {
    names: &named(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
    schema: SchemaGenerator::subschema_for::<SubjectAccessReview>,
};

const fn named(group: &'static str, kind: &'static str, plural: &'static str, singular: &'static str) -> Names {
    Names { group, version: "v1", kind, plural, singular, short: &[], categories: &[], scope: Scope::Cluster }
}
