//! Who vouches for the members of the cluster, for those who run it: who that is, and another one.
//!
//! How one takes the place of the other is not the door's to know; here it is asked for and told.

use std::fmt;
use std::sync::Arc;

use api::StatusError;
use axum::extract::{Request, State};
use futures::future::BoxFuture;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{self, Answer, Refusal};
use crate::{Door, body, target};

/// Has another authority take the place of the one there is.
pub trait Rotation: fmt::Debug + Send + Sync {
    /// How far that is, and who has not gone over.
    fn status(&self) -> BoxFuture<'_, Result<Value, StatusError>>;

    /// Goes on as asked; tells how it then is.
    fn change(&self, asked: Asked) -> BoxFuture<'_, Result<Value, StatusError>>;
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "change", rename_all = "camelCase", deny_unknown_fields)]
pub enum Asked {
    /// Another authority is made; everybody goes over to it, and both are trusted.
    Rotate,
    /// The last one is trusted no longer.
    Retire {
        /// Whoever has not gone over is left out.
        #[serde(default)]
        force: bool,
    },
}

pub(crate) async fn status(State(door): State<Arc<Door>>) -> Result<Answer, Refusal> {
    let rotation = door.rotation.as_ref().ok_or_else(target::nothing_here)?;
    Ok(answer::value(StatusCode::OK, &rotation.status().await?))
}

pub(crate) async fn change(State(door): State<Arc<Door>>, request: Request) -> Result<Answer, Refusal> {
    let rotation = door.rotation.as_ref().ok_or_else(target::nothing_here)?;
    let asked = body::read(request.into_body()).await?;
    let asked = serde_json::from_slice(&asked).map_err(|error| StatusError::bad_request(error.to_string()))?;
    Ok(answer::value(StatusCode::OK, &rotation.change(asked).await?))
}
