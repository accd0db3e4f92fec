//! `POST /exec/{namespace}/{pod}/{container}?command=…` and `POST /attach/{namespace}/{pod}/{container}`: the streams of a command.
//!
//! Which streams is said by `stdin`, `stdout`, `stderr` and `tty`; bodies are pieces (see `api::stdio`), both ways.

use std::sync::Arc;
use std::time::Duration;

use api::stdio::{Piece, Pieces, RESIZE};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Refusal, here};
use crate::context::Context;
use crate::terminal::Size;
use crate::visit::{Inside, Visit, Wanted};
use crate::worker::Mail;

/// Callers that have a size to tell tell it at once.
const SIZE_PATIENCE: Duration = Duration::from_millis(300);

type Where = Path<(String, String, String)>;
type Parameters = Query<Vec<(String, String)>>;

/// A fresh instance of the container's component, with these words as its own.
pub(super) async fn exec(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Where,
    Query(parameters): Parameters,
    body: Body,
) -> Response {
    let wanted = wanted(&parameters);
    let words = parameters.into_iter().filter(|(name, _)| name == "command").map(|(_, word)| word).collect();
    match enter(&context, &namespace, &pod, container, false).await {
        Ok(inside) => {
            let (size, body) = if wanted.tty { first_size(body).await } else { (None, body) };
            let (talk, end) = inside.run(words, wanted, size);
            answer(talk.begin(body, end))
        }
        Err(refused) => refused.into_response(),
    }
}

/// The streams of the container itself.
pub(super) async fn attach(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Where,
    Query(parameters): Parameters,
    body: Body,
) -> Response {
    let wanted = wanted(&parameters);
    match enter(&context, &namespace, &pod, container, wanted.stdin).await {
        Ok(inside) => {
            let (talk, end) = inside.attach(wanted);
            answer(talk.begin(body, end))
        }
        Err(refused) => refused.into_response(),
    }
}

/// How large the caller's terminal is, if that is what it says first, and all that it says.
async fn first_size(caller: Body) -> (Option<Size>, Body) {
    let mut caller = caller.into_data_stream();
    let (mut pieces, mut heard) = (Pieces::default(), Vec::new());
    let first = async {
        while let Some(Ok(bytes)) = caller.next().await {
            pieces.push(&bytes);
            heard.push(bytes);
            match pieces.take() {
                Ok(None) => {}
                Ok(Some(Piece { channel: RESIZE, bytes })) => return Size::read(&bytes),
                _ => return None,
            }
        }
        None
    };
    // A caller that says nothing has its command all the same.
    let size = timeout(SIZE_PATIENCE, first).await.ok().flatten();
    let heard = futures::stream::iter(heard.into_iter().map(Ok));
    (size, Body::from_stream(heard.chain(caller)))
}

async fn enter(
    context: &Context,
    namespace: &str,
    pod: &str,
    container: String,
    input: bool,
) -> Result<Inside, Refusal> {
    let missing = format!("container not found (\"{container}\")");
    let missing = || (StatusCode::NOT_FOUND, missing);
    let (uid, _) = here(context, namespace, pod)?;
    let Some(post) = context.post(&uid) else { return Err(missing()) };
    let (reply, inside) = oneshot::channel();
    // A worker that ends does not answer.
    let _ = post.unbounded_send(Mail::Visit(Visit { container, input, reply }));
    inside.await.ok().flatten().ok_or_else(missing)
}

fn wanted(parameters: &[(String, String)]) -> Wanted {
    let is = |name: &str| parameters.iter().any(|(known, value)| known == name && value == "true");
    Wanted { stdin: is("stdin"), stdout: is("stdout"), stderr: is("stderr"), tty: is("tty") }
}

fn answer(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
