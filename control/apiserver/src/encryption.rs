//! The keys that what lies on disk is sealed with, for those who run the cluster: which there are, and a new one.
//!
//! Keys themselves never leave the server; what is told is their numbers.

use std::sync::Arc;

use api::{Reason, StatusError};
use axum::extract::{Extension, State};
use http::StatusCode;
use serde_json::json;

use crate::Door;
use crate::answer::{self, Answer, Refusal};
use crate::identity::Identity;

/// Which keys there are, the one that seals first.
pub(crate) async fn status(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
) -> Result<Answer, Refusal> {
    demand_master(&identity, "get", "/coracle/v1/encryption")?;
    Ok(answer::value(StatusCode::OK, &json!({"keys": door.store.keys().await})))
}

/// Has a new key seal everything.
pub(crate) async fn rotate(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
) -> Result<Answer, Refusal> {
    demand_master(&identity, "post", "/coracle/v1/encryption/rotate")?;
    let rotation = door.store.rotate_keys().await.map_err(StatusError::internal)?;
    Ok(answer::value(StatusCode::OK, &json!({"key": rotation.key, "retired": rotation.retired})))
}

fn demand_master(identity: &Identity, verb: &str, path: &str) -> Result<(), StatusError> {
    if identity.is_master() {
        return Ok(());
    }
    let why = format!("forbidden: User {:?} cannot {verb} path {path:?}", identity.user);
    Err(StatusError::new(Reason::Forbidden, why))
}
