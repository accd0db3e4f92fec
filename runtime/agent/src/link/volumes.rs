//! What is in volumes of this node, as streams: to those who keep it elsewhere, and from those who bring it back.

use std::io::{self, Read, Write};
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::Refusal;
use crate::context::Context;
use crate::volumes::snapshots::{self, NotFilled};

/// What is read ahead of somebody who takes it slowly.
const PIECES_AHEAD: usize = 8;
/// How long such a piece is.
const PIECE_BYTES: usize = 64 << 10;

/// Hands on what is written, and waits for those who take it.
struct Outgoing(mpsc::Sender<io::Result<Bytes>>);

/// Reads what comes, and waits for it.
struct Incoming {
    runtime: Handle,
    pieces: BodyDataStream,
    piece: Bytes,
}

/// `GET`: a volume as it is now, packed while it is read. What ends too early is broken off.
pub(super) async fn give(State(context): State<Arc<Context>>, Path(name): Path<String>) -> Response {
    let opened = {
        let (context, name) = (context.clone(), name.clone());
        tokio::task::spawn_blocking(move || snapshots::open(&context, &name)).await
    };
    let volume = match opened.map_err(io::Error::other).flatten() {
        Ok(Some(volume)) => volume,
        Ok(None) => return not_here(&context, &name).into_response(),
        Err(error) => return failed(&name, &error.to_string()).into_response(),
    };
    let (send, receive) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(PIECE_BYTES, Outgoing(send.clone()));
        if let Err(error) = snapshots::pack(&volume, out) {
            tracing::warn!(volume = name, %error, "not given to its end");
            // The one who takes it may be what failed.
            let _ = send.blocking_send(Err(error));
        }
    });
    ([(CONTENT_TYPE, "application/gzip")], Body::from_stream(ReceiverStream::new(receive))).into_response()
}

/// `PUT`: a volume that waits for what a backup held has it from now on.
pub(super) async fn take(State(context): State<Arc<Context>>, Path(name): Path<String>, body: Body) -> Response {
    let incoming = Incoming { runtime: Handle::current(), pieces: body.into_data_stream(), piece: Bytes::new() };
    match snapshots::bring(&context, &name, incoming).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(NotFilled::Unknown) => not_here(&context, &name).into_response(),
        Err(NotFilled::Busy) => {
            (StatusCode::CONFLICT, format!("somebody else sees to the volume {name} at this moment")).into_response()
        }
        Err(NotFilled::Failed(why)) => failed(&name, &why).into_response(),
    }
}

fn not_here(context: &Context, name: &str) -> Refusal {
    (StatusCode::NOT_FOUND, format!("the volume {name} is not one of node {}", context.config.node_name))
}

fn failed(name: &str, why: &str) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("the volume {name}: {why}"))
}

// === impl Outgoing ===

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Incoming ===

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.split_to(count).copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
