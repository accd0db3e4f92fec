//! Archives of volumes that are carried off or brought, as streams.
//!
//! What is brought lies beside what was made here, under a name that nobody uses, and is worth nothing until a
//! `VolumeSnapshotContent` names it by the handle that this answers with.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;

use super::Refusal;
use crate::context::Context;
use crate::volumes::snapshots::Brought;

/// `GET`: an archive as it lies here.
pub(super) async fn give(State(context): State<Arc<Context>>, Path(name): Path<String>) -> Response {
    let given = async {
        let path = Brought::path(&context, &name).ok_or_else(|| no_name(&name))?;
        let file = tokio::fs::File::open(path).await.map_err(|error| unreadable(&name, &error))?;
        let length = file.metadata().await.map_err(|error| unreadable(&name, &error))?.len();
        Ok::<_, Refusal>((file, length))
    };
    match given.await {
        Ok((file, length)) => {
            let head = [(CONTENT_TYPE, "application/gzip".to_owned()), (CONTENT_LENGTH, length.to_string())];
            (head, Body::from_stream(ReaderStream::new(file))).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// `PUT`: what somebody has kept is here from now on, if it is an archive and whole.
pub(super) async fn take(State(context): State<Arc<Context>>, Path(name): Path<String>, body: Body) -> Response {
    match receive(&context, &name, body).await {
        Ok((handle, bytes)) => {
            (StatusCode::CREATED, axum::Json(json!({"handle": handle, "restoreSize": bytes}))).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

async fn receive(context: &Context, name: &str, body: Body) -> Result<(String, u64), Refusal> {
    let unwritten = |error: std::io::Error| {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("the archive {name} cannot be written: {error}"))
    };
    let path = Brought::path(context, name).ok_or_else(|| no_name(name))?;
    if tokio::fs::try_exists(&path).await.map_err(unwritten)? {
        return Err((StatusCode::CONFLICT, format!("the archive {name} is there already")));
    }
    let (brought, file) = Brought::begin(context, name).map_err(unwritten)?;
    let (mut file, mut pieces) = (tokio::fs::File::from_std(file), body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|error| (StatusCode::BAD_REQUEST, format!("the archive ended too early: {error}")))?;
        file.write_all(&piece).await.map_err(unwritten)?;
    }
    file.flush().await.map_err(unwritten)?;
    let kept = tokio::task::spawn_blocking(move || brought.keep()).await;
    let kept = kept.map_err(|panicked| unwritten(std::io::Error::other(panicked)))?;
    let (handle, bytes) = kept.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::UnexpectedEof => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("this is no archive of a volume: {error}"))
        }
        _ => unwritten(error),
    })?;
    Ok((handle.to_string(), bytes))
}

fn no_name(name: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{name:?} is no name of an archive"))
}

fn unreadable(name: &str, error: &std::io::Error) -> Refusal {
    let status = match error.kind() {
        std::io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("the archive {name}: {error}"))
}
