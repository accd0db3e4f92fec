//! The keys that what lies on disk is sealed with, for those who run the cluster: which there are, and a new one.
//!
//! Keys themselves never leave the server, and each server has its own; what is told is their numbers.

use std::sync::Arc;

use api::StatusError;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use crate::Door;
use crate::answer::{self, Answer, Refusal};

/// Which keys there are, the one that seals first.
pub(crate) async fn status(State(door): State<Arc<Door>>) -> Answer {
    answer::value(StatusCode::OK, &json!({"keys": door.store.keys().await}))
}

/// Has a new key seal everything.
pub(crate) async fn rotate(State(door): State<Arc<Door>>) -> Result<Answer, Refusal> {
    let rotation = door.store.rotate_keys().await.map_err(StatusError::internal)?;
    Ok(answer::value(StatusCode::OK, &json!({"key": rotation.key, "retired": rotation.retired})))
}
