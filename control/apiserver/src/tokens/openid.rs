//! How others may verify tokens: OpenID Connect discovery, and the public keys.

use std::sync::Arc;

use api::jwt;
use axum::extract::State;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::Door;
use crate::answer::{self, Answer, JSON};

/// As Kubernetes has it: keys change seldom.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// `/.well-known/openid-configuration`. Who can reach the issuer finds its keys there, too.
pub(crate) async fn configuration() -> Answer {
    let told = json!({
        "issuer": jwt::ISSUER,
        "jwks_uri": format!("{}/openid/v1/jwks", jwt::ISSUER),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [jwt::ALGORITHM],
    });
    cached(JSON, told.to_string())
}

/// `/openid/v1/jwks`.
pub(crate) async fn keys(State(door): State<Arc<Door>>) -> Answer {
    cached("application/jwk-set+json", json!({"keys": [door.tokens.issuer.public()]}).to_string())
}

fn cached(media_type: &str, told: String) -> Answer {
    let mut answer = answer::typed(StatusCode::OK, media_type, told);
    answer.headers_mut().insert(CACHE_CONTROL, CACHE);
    answer
}
