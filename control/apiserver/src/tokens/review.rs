//! `TokenReview`: others ask whose token they were shown.

use std::sync::Arc;

use api::StatusError;
use api::jwt;
use axum::extract::{Request, State};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::{Door, authentication, body, negotiate};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    token: String,
    audiences: Option<Vec<String>>,
}

/// Answers `POST /apis/authentication.k8s.io/v1/tokenreviews`.
pub(crate) async fn review(State(door): State<Arc<Door>>, request: Request) -> Result<Answer, Refusal> {
    let (parts, said) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    let encoding = negotiate::encoding(content_type)?;
    let mut review = body::decode(encoding, &body::read(said).await?, "TokenReview")?.value;
    let asked: Asked = serde_json::from_value(review.clone()).map_err(|error| {
        StatusError::bad_request(format!("TokenReview in version \"v1\" cannot be handled as a TokenReview: {error}"))
    })?;
    if asked.spec.token.is_empty() {
        return Err(StatusError::bad_request("token is required for TokenReview in authentication").into());
    }
    review["kind"] = "TokenReview".into();
    review["apiVersion"] = "authentication.k8s.io/v1".into();
    review["status"] = status(&door, &asked.spec);
    Ok(answer::value(StatusCode::CREATED, &review))
}

fn status(door: &Door, asked: &Spec) -> Value {
    let audiences = asked.audiences.clone().filter(|audiences| !audiences.is_empty());
    let audiences = audiences.unwrap_or_else(|| vec![jwt::ISSUER.into()]);
    match authentication::of_token(door, &asked.token, &audiences) {
        Ok(holder) => json!({
            "authenticated": true, "user": holder.identity.told(), "audiences": holder.audiences,
        }),
        Err(invalid) => json!({"user": {}, "error": invalid.to_string()}),
    }
}
