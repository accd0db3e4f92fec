//! Who asks: found once for each request, before anything else of it is looked at.
//!
//! The certificate of the connection says it; without one `Authorization: Bearer` does; with neither it is nobody, who may still
//! ask for the version. A token that is shown and does not hold is refused whatever is asked for, as Kubernetes refuses it.

use std::sync::Arc;

use api::{StatusError, jwt};
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tracing::debug;

use crate::answer::{Answer, Refusal};
use crate::identity::{Identity, unauthorized};
use crate::tokens::{Holder, Invalid};
use crate::{Door, audit};

/// Puts the identity of a request beside it. Until then the identity beside it is that of its connection.
pub(crate) async fn identify(
    State(door): State<Arc<Door>>,
    Extension(connected): Extension<Identity>,
    mut request: Request,
    next: Next,
) -> Answer {
    match of_request(&door, connected, request.headers()) {
        Ok(identity) => {
            // It has said what it had to say: whatever a request is passed on to learns nothing from it.
            request.headers_mut().remove(AUTHORIZATION);
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(error) => {
            let answer = Refusal(error).into_response();
            audit::refused(&door, &request, &answer);
            answer
        }
    }
}

fn of_request(door: &Door, connected: Identity, headers: &HeaderMap) -> Result<Identity, StatusError> {
    if !connected.is_anonymous() {
        return Ok(connected);
    }
    match bearer(headers) {
        None => Ok(connected),
        Some(token) => {
            let holder = of_token(door, token, &[jwt::ISSUER.into()]).map_err(|why| {
                debug!(%why, "a token does not hold");
                unauthorized()
            });
            Ok(holder?.identity)
        }
    }
}

/// Whoever a token stands for that is meant for one of the audiences.
pub(crate) fn of_token(door: &Door, token: &str, audiences: &[String]) -> Result<Holder, Invalid> {
    door.tokens.holder(token, audiences, &door.store.snapshot(), (door.clock)())
}

/// The token that the headers show, if they show one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split(' ');
    let scheme = words.next()?;
    words.next().filter(|token| !token.is_empty() && scheme.eq_ignore_ascii_case("bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let check = |header: &str, expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(header).expect("a header"));
            assert_eq!(bearer(&headers), expect, "{header}");
        };
        check("Bearer secret", Some("secret"));
        check("bearer secret", Some("secret"));
        check("Bearer ", None);
        check("Bearer", None);
        check("Basic c2VjcmV0", None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
