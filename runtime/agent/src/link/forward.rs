//! `POST /portForward/{namespace}/{pod}?port=N`: bytes to a port of a pod as the request's body, and from it as the answer's.
//!
//! With `tls=true` the bytes are encrypted on the way to the pod, whose certificate nobody looks at. As with a kubelet the pod is
//! entered by its own loopback, so that a program which listens there alone is reached as well.
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
    #[serde(default)]
    tls: bool,
}

/// Connects the caller to a port of a pod.
pub(super) async fn forward(
    State(context): State<Arc<Context>>,
    Path((namespace, pod)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    body: Body,
) -> Response {
    let stream = match enter(&context, &namespace, &pod, wanted).await {
        Ok(stream) => stream,
        Err(refused) => return refused.into_response(),
    };
    let (reader, writer) = stream.into_split();
    // Ends with the caller's body, or when the pod reads no more.
    tokio::spawn(send(body.into_data_stream(), writer));
    ([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(chunks(reader))).into_response()
}

async fn enter(context: &Context, namespace: &str, pod: &str, wanted: Wanted) -> Result<Stream, Refusal> {
    let Wanted { port, tls } = wanted;
    let (uid, _) = here(context, namespace, pod)?;
    let (address, reach) = at(context, namespace, pod)?;
    let address = SocketAddr::new(address, port);
    let inside = match context.attachment(&uid) {
        Some(attachment) => attachment.connect(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await,
        None => Err(Refused::Nobody(address)),
    };
    let entered = match inside {
        Err(Refused::Nobody(_)) => context.fabric.connect_as(&context.fabric.node(), reach, address).await,
        entered => entered,
    };
    let stream = entered.map_err(|refused| {
        let told = match &refused {
            Refused::Nobody(_) => format!("dial tcp4 127.0.0.1:{port}: connect: connection refused"),
            refused => refused.to_string(),
        };
        (StatusCode::SERVICE_UNAVAILABLE, told)
    })?;
    // Who answers requests in this process is reached without a wire that could be listened to.
    if !tls || context.fabric.answers_requests(address) {
        return Ok(stream);
    }
    let secured = context.fabric.secure(stream, &address.ip().to_string()).await;
    secured.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
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
