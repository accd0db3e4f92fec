//! A command as its node tells of it: pieces of what it writes, and how it ended.

use std::convert::Infallible;

use api::stdio::{ERROR, Piece, Pieces};
use api::{Reason, StatusError};
use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::asked::Asked;
use crate::body;
use crate::link::Links;

/// What comes from the node. It is told once how the command ended, whatever happens.
pub(super) struct Session {
    body: Body,
    pieces: Pieces,
    node: String,
}

// === impl Session ===

impl Session {
    /// Asks the node; `outgoing` are the client's pieces. A refusal is an end like others, as a `Status`.
    pub(super) async fn open(
        links: &Links,
        asked: &Asked,
        outgoing: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Self, Value> {
        let body = Body::from_stream(outgoing.map(Ok::<_, Infallible>));
        let answer = match Request::post(&asked.path).body(body) {
            Ok(request) => links.ask(&asked.node, request).await,
            Err(error) => Err(StatusError::internal(error)),
        };
        let answer = answer.map_err(|error| ended(&error))?;
        if answer.status() == StatusCode::OK {
            return Ok(Self { body: answer.into_body(), pieces: Pieces::default(), node: asked.node.clone() });
        }
        let said = body::read(answer.into_body()).await.map_err(|error| ended(&error))?;
        Err(ended(&StatusError::internal(String::from_utf8_lossy(&said).trim())))
    }

    /// The next piece. The last one says on [`ERROR`] how the command ended; if the node does not come to say it, that is said.
    pub(super) async fn next(&mut self) -> Piece {
        let broken = loop {
            match self.pieces.take() {
                Ok(Some(piece)) => return piece,
                Ok(None) => {}
                Err(error) => break error.to_string(),
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.pieces.push(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(error)) => break error.to_string(),
                None => break "it ended early".into(),
            }
        };
        let why = format!("the connection to node {} broke: {broken}", self.node);
        Piece::new(ERROR, ended(&StatusError::new(Reason::InternalError, why)).to_string())
    }
}

/// A refusal as a client reads it at the end of a command: without kind and version, as Kubernetes writes it there.
pub(super) fn ended(error: &StatusError) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "message": error.message, "reason": error.reason, "code": error.code(),
    })
}
