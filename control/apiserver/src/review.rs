//! Questions about who one is and who may do what: posted, answered, and not kept.
//!
//! A review is an object like others on its way in (any encoding, unknown fields told), and the same object with a status on its
//! way out.

mod kinds;
mod validation;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Cause, Names, Scope, StatusError};
use axum::extract::{Extension, Path, Request, State};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReviewSpec, SelfSubjectRulesReviewSpec,
    SubjectAccessReviewSpec,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::authorization::question::{Question, Resource};
use crate::authorization::{Decision, table};
use crate::identity::Identity;
use crate::query::Query;
use crate::{Door, body, negotiate};

pub(crate) use kinds::{REVIEWS, Review};

/// `SelfSubjectAccessReview`: may I?
pub(crate) async fn own_access(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Answer, Refusal> {
    let asked = Asked::read(&kinds::OWN_ACCESS, "", request).await?;
    let SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes } = asked.spec()?;
    asked.judge(validation::own(resource_attributes.as_ref(), non_resource_attributes.as_ref()))?;
    let decision = decided(&door, &identity, resource_attributes, non_resource_attributes);
    Ok(asked.answer(decision))
}

/// `SubjectAccessReview`: may they?
pub(crate) async fn access(State(door): State<Arc<Door>>, request: Request) -> Result<Answer, Refusal> {
    let asked = Asked::read(&kinds::ACCESS, "", request).await?;
    answer_for(&door, asked, "")
}

/// `LocalSubjectAccessReview`: may they, in this namespace?
pub(crate) async fn local_access(
    State(door): State<Arc<Door>>,
    Path(namespace): Path<String>,
    request: Request,
) -> Result<Answer, Refusal> {
    let asked = Asked::read(&kinds::LOCAL_ACCESS, &namespace, request).await?;
    answer_for(&door, asked, &namespace)
}

fn answer_for(door: &Door, asked: Asked, namespace: &str) -> Result<Answer, Refusal> {
    let spec: SubjectAccessReviewSpec = asked.spec()?;
    asked.judge(validation::of(&spec, namespace))?;
    let who = Identity {
        user: spec.user.unwrap_or_default(),
        uid: spec.uid,
        groups: spec.groups.unwrap_or_default(),
        extra: spec.extra.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
    };
    let decision = decided(door, &who, spec.resource_attributes, spec.non_resource_attributes);
    Ok(asked.answer(decision))
}

/// `SelfSubjectRulesReview`: what may I do in a namespace?
pub(crate) async fn own_rules(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Answer, Refusal> {
    let asked = Asked::read(&kinds::OWN_RULES, "", request).await?;
    let SelfSubjectRulesReviewSpec { namespace } = asked.spec()?;
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.ok_or_else(|| StatusError::bad_request("no namespace on request"))?;
    let table = door.authorizer.table(&door.store.snapshot());
    Ok(asked.answer(rules(&table, &identity, &namespace)))
}

/// `SelfSubjectReview`: who am I?
pub(crate) async fn myself(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Answer, Refusal> {
    let mut asked = Asked::read(&kinds::MYSELF, "", request).await?;
    if asked.review["metadata"]["creationTimestamp"].is_null() {
        let now = (door.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        asked.review["metadata"] = json!({"creationTimestamp": now});
    }
    Ok(asked.answer(json!({"userInfo": identity.told()})))
}

fn decided(
    door: &Door,
    who: &Identity,
    resource: Option<ResourceAttributes>,
    path: Option<NonResourceAttributes>,
) -> Value {
    let question = match (resource, path) {
        (Some(asked), _) => {
            let resource = Resource {
                group: asked.group.unwrap_or_default(),
                plural: asked.resource.unwrap_or_default(),
                subresource: asked.subresource.unwrap_or_default(),
                namespace: asked.namespace.unwrap_or_default(),
                name: asked.name.unwrap_or_default(),
                labels: asked.label_selector.and_then(|labels| labels.raw_selector).unwrap_or_default(),
            };
            Question::of_resource(&asked.verb.unwrap_or_default(), resource)
        }
        (None, asked) => {
            let (verb, path) = asked.map(|asked| (asked.verb, asked.path)).unwrap_or_default();
            Question::of_path(&verb.unwrap_or_default(), &path.unwrap_or_default())
        }
    };
    let (allowed, reason) = match door.decide(who, &question) {
        Decision::Allowed(reason) => (true, reason),
        Decision::Refused(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}

fn rules(table: &table::Table, who: &Identity, namespace: &str) -> Value {
    let mut of_resources = Vec::new();
    let mut of_paths = Vec::new();
    for rule in table.rules(who, namespace) {
        let mut told = json!({"verbs": rule.verbs});
        let lists = [
            ("apiGroups", &rule.api_groups),
            ("resources", &rule.resources),
            ("resourceNames", &rule.resource_names),
            ("nonResourceURLs", &rule.non_resource_urls),
        ];
        for (member, words) in lists {
            if let Some(words) = words.as_ref().filter(|words| !words.is_empty()) {
                told[member] = json!(words);
            }
        }
        if told.get("resources").is_some() {
            of_resources.push(told);
        } else if told.get("nonResourceURLs").is_some() {
            of_paths.push(told);
        }
    }
    let mut status = json!({"resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": false});
    let is_node = who.node().is_some();
    if is_node {
        status["incomplete"] = true.into();
    }
    let unresolved = table.missing(who, namespace);
    let node = is_node.then(|| "node authorizer does not support user rule resolution".to_owned());
    let errors: Vec<String> = node.into_iter().chain(Some(unresolved).filter(|told| !told.is_empty())).collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join(", ").into();
    }
    status
}

/// A review, understood.
struct Asked {
    names: &'static Names,
    review: Value,
    warnings: Vec<String>,
}

// === impl Asked ===

impl Asked {
    async fn read(review: &'static Review, namespace: &str, request: Request) -> Result<Self, StatusError> {
        let names = review.names;
        let (parts, said) = request.into_parts();
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let encoding = negotiate::encoding(content_type)?;
        let options = Query::parse(parts.uri.query()).write_options("CreateOptions")?;
        let said = body::read(said).await?;
        let parsed = body::decode(encoding, &said, names.kind)?;
        let (mut review, warnings) = api::read(names, parsed.value, options.validation, &parsed.duplicates)?;
        if !review["metadata"].is_object() {
            review["metadata"] = json!({"creationTimestamp": null});
        }
        if names.scope == Scope::Namespaced {
            let said = review["metadata"]["namespace"].as_str().unwrap_or_default();
            if !said.is_empty() && said != namespace {
                return Err(StatusError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            review["metadata"]["namespace"] = namespace.into();
        }
        Ok(Self { names, review, warnings })
    }

    fn spec<T: DeserializeOwned>(&self) -> Result<T, StatusError> {
        let spec = self.review.get("spec").cloned().unwrap_or_else(|| json!({}));
        serde_json::from_value(spec).map_err(|error| StatusError::bad_request(error.to_string()))
    }

    /// Refuses a review that breaks rules.
    fn judge(&self, causes: Vec<Cause>) -> Result<(), StatusError> {
        if causes.is_empty() { Ok(()) } else { Err(StatusError::invalid(self.names, "", causes)) }
    }

    fn answer(mut self, status: Value) -> Answer {
        self.review["status"] = status;
        self.review["apiVersion"] = self.names.api_version().into();
        self.review["kind"] = self.names.kind.into();
        answer::with_warnings(answer::value(StatusCode::CREATED, &self.review), &self.warnings)
    }
}
