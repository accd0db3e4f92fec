//! One connection to a port of a pod, over the link of its node.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::Stream;
use http::StatusCode;
use http_body_util::BodyExt;

use crate::body;
use crate::connect::backend::Security;
use crate::link::Links;

/// A pod, and how to get there.
#[derive(Clone)]
pub(in crate::connect) struct Pod {
    pub(in crate::connect) links: Arc<Links>,
    pub(in crate::connect) node: String,
    pub(in crate::connect) namespace: String,
    pub(in crate::connect) name: String,
}

/// What the pod sends.
pub(in crate::connect) struct Incoming {
    body: Body,
    what: String,
}

// === impl Pod ===

impl Pod {
    /// Connects to a port; what `outgoing` gives is sent there. A refusal comes in words.
    pub(in crate::connect) async fn dial(
        &self,
        port: u16,
        security: Security,
        outgoing: impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
    ) -> Result<Incoming, String> {
        let Self { links, node, namespace, name } = self;
        let what = format!("error forwarding port {port} to pod {name}");
        let failed = |why: &str| format!("{what}: {why}");
        let tls = if security == Security::Tls { "&tls=true" } else { "" };
        let request = http::Request::post(format!("/portForward/{namespace}/{name}?port={port}{tls}"));
        let request = request.body(Body::from_stream(outgoing)).map_err(|error| failed(&error.to_string()))?;
        let answer = links.ask(node, request).await.map_err(|error| failed(&error.message))?;
        if answer.status() == StatusCode::OK {
            return Ok(Incoming { body: answer.into_body(), what });
        }
        let said = body::read(answer.into_body()).await.map_err(|error| failed(&error.message))?;
        Err(failed(String::from_utf8_lossy(&said).trim()))
    }
}

// === impl Incoming ===

impl Incoming {
    /// What comes next; nothing at the end.
    pub(in crate::connect) async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            if self.body.is_end_stream() {
                return None;
            }
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Some(Ok(bytes)),
                    _ => {}
                },
                Err(error) => return Some(Err(format!("{}: {error}", self.what))),
            }
        }
    }
}
