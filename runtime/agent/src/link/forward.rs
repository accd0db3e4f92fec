//! `POST /portForward/{namespace}/{pod}?port=N`: bytes to a port of a pod as the request's body, and from it as the answer's.
//!
//! As with a kubelet the pod is entered by its own loopback, so that a program which listens there alone is reached as well.
//! Each direction ends by itself; when the caller goes away both do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use network::{Reader, Refused, Stream, Writer};
use serde::Deserialize;

use super::{Refusal, at, here};
use crate::context::Context;

/// What is read of the pod's answer at a time.
const CHUNK_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    port: u16,
}

/// Connects the caller to a port of a pod.
pub(super) async fn forward(
    State(context): State<Arc<Context>>,
    Path((namespace, pod)): Path<(String, String)>,
    Query(Wanted { port }): Query<Wanted>,
    body: Body,
) -> Response {
    let stream = match enter(&context, &namespace, &pod, port).await {
        Ok(stream) => stream,
        Err(refused) => return refused.into_response(),
    };
    let (reader, writer) = stream.into_split();
    // Ends with the caller's body, or when the pod reads no more.
    tokio::spawn(send(body.into_data_stream(), writer));
    ([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(chunks(reader))).into_response()
}

async fn enter(context: &Context, namespace: &str, pod: &str, port: u16) -> Result<Stream, Refusal> {
    let (uid, _) = here(context, namespace, pod)?;
    let address = SocketAddr::new(at(context, namespace, pod)?, port);
    let inside = match context.attachment(&uid) {
        Some(attachment) => attachment.connect(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await,
        None => Err(Refused::Nobody(address)),
    };
    let entered = match inside {
        Err(Refused::Nobody(_)) => context.fabric.connect(&context.fabric.node(), address).await,
        entered => entered,
    };
    entered.map_err(|refused| {
        let told = match &refused {
            Refused::Nobody(_) => format!("dial tcp4 127.0.0.1:{port}: connect: connection refused"),
            refused => refused.to_string(),
        };
        (StatusCode::SERVICE_UNAVAILABLE, told)
    })
}

async fn send(mut body: BodyDataStream, mut writer: Writer) {
    while let Some(bytes) = body.next().await {
        match bytes {
            Ok(bytes) => {
                if writer.send_all(bytes).await.is_err() {
                    return;
                }
            }
            // Gone without an end: the pod is told so.
            Err(_) => return writer.reset(),
        }
    }
    writer.finish();
}

fn chunks(reader: Reader) -> impl futures::Stream<Item = io::Result<bytes::Bytes>> + Send + 'static {
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.chunk(CHUNK_BYTES_MAX).await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some((Ok(bytes), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    })
}
