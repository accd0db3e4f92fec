//! Questions about oneself: who am I, may I.

use std::sync::Arc;

use api::StatusError;
use axum::extract::{Extension, Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::identity::{Identity, Verb};
use crate::target::Target;
use crate::{Door, body, negotiate};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<Attributes>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    namespace: String,
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    name: String,
}

/// `SelfSubjectAccessReview`: may I?
pub(crate) async fn access(
    State(_): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Answer, Refusal> {
    let (parts, said) = request.into_parts();
    let mut review = read(&parts.headers, said).await?;
    let asked: Asked =
        serde_json::from_value(review.clone()).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let allowed = match &asked.spec.resource_attributes {
        _ if identity.is_master() => true,
        None => false,
        Some(attributes) => {
            attributes.question().is_some_and(|(verb, target)| identity.authorize(verb, &target).is_ok())
        }
    };
    review["kind"] = "SelfSubjectAccessReview".into();
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    review["status"] = json!({"allowed": allowed});
    Ok(answer::value(StatusCode::CREATED, &review))
}

/// `SelfSubjectReview`: who am I?
pub(crate) async fn myself(Extension(identity): Extension<Identity>) -> Answer {
    let review = json!({
        "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {"creationTimestamp": null},
        "status": {"userInfo": identity.told()},
    });
    answer::value(StatusCode::CREATED, &review)
}

async fn read(headers: &HeaderMap, said: axum::body::Body) -> Result<Value, StatusError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    let encoding = negotiate::encoding(content_type)?;
    let said = body::read(said).await?;
    let review = body::decode(encoding, &said, "SelfSubjectAccessReview")?.value;
    if review.is_object() { Ok(review) } else { Err(StatusError::bad_request("the review is not an object")) }
}

// === impl Attributes ===

impl Attributes {
    /// The question in the words of a request; none if it is about what does not exist.
    fn question(&self) -> Option<(Verb, Target)> {
        let kind = api::catalog::all()
            .iter()
            .find(|kind| kind.names().group == self.group && kind.names().plural == self.resource)?;
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", kind.names().version),
            group => format!("/apis/{group}/{}", kind.names().version),
        };
        if kind.names().scope == api::Scope::Namespaced && !self.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&self.namespace);
        }
        for part in [&self.resource, &self.name, &self.subresource].into_iter().filter(|part| !part.is_empty()) {
            path.push('/');
            path.push_str(part);
        }
        Some((Verb::named(&self.verb)?, Target::parse(&path).ok()?))
    }
}
