//! What guests reach beyond themselves.

use std::sync::{Arc, Mutex};

use host::{Body, Outside, OutsideError, Sending, Spec, Timeouts};
use http::{Request, Response, StatusCode};

use crate::guests::{Bench, check, example, get, probe, serving_with, text};

/// Answers every request itself and remembers what was asked.
#[derive(Default)]
struct Town {
    asked: Mutex<Vec<(String, Timeouts)>>,
}

impl Outside for Town {
    fn send(&self, request: Request<Body>, timeouts: Timeouts) -> Sending {
        let uri = request.uri().to_string();
        self.asked.lock().expect("nobody panics with it").push((uri.clone(), timeouts));
        Box::pin(async move {
            match uri.as_str() {
                "http://denied/" => Err(OutsideError::Denied),
                "http://echo/" => Ok(Response::new(request.into_body())),
                _ => Response::builder()
                    .status(201)
                    .body(host::full("from the town"))
                    .map_err(|error| OutsideError::Other(error.to_string())),
            }
        })
    }
}

#[tokio::test]
async fn a_guest_reaches_the_outside_it_was_given() {
    let bench = Bench::new();
    let town = Arc::new(Town::default());
    let server = serving_with(&bench, &example("probe/probe.wasm"), Spec::default(), town.clone()).await;
    check(&server, "/call?url=http://shop/", 201, "from the town").await;
    let denied = server.handle(get("/call?url=http://denied/")).await.expect("the probe answers");
    assert_eq!(denied.status(), StatusCode::BAD_GATEWAY);
    let asked: Vec<_> = town.asked.lock().expect("nobody panics with it").iter().map(|(uri, _)| uri.clone()).collect();
    assert_eq!(asked, ["http://shop/", "http://denied/"]);

    let request = Request::post("http://guest/call?url=http://echo/").body(host::full("there and back"));
    let response = server.handle(request.expect("the request is well-formed")).await.expect("it answers");
    assert_eq!(text(response.into_body()).await, "there and back");
}

#[tokio::test]
async fn an_answer_to_a_request_that_nobody_read_is_heard() {
    let bench = Bench::new();
    let server = serving_with(&bench, &example("probe/probe.wasm"), Spec::default(), Arc::new(Town::default())).await;
    let many = server.handle(get("/calls?url=http://shop/&count=200")).await.expect("the probe answers");
    assert_eq!(many.status(), StatusCode::OK);
    let request = Request::post("http://guest/call?url=http://shop/").body(host::full(vec![b'x'; 64 << 10]));
    let response = server.handle(request.expect("the request is well-formed")).await.expect("it answers");
    assert_eq!(text(response.into_body()).await, "from the town");
}

#[tokio::test]
async fn nowhere_is_an_answer_too() {
    let (_bench, server) = probe(Spec::default()).await;
    let response = server.handle(get("/call?url=http://shop/")).await.expect("the probe answers");
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
}
