//! Says hello: `/` answers with the configured greeting and the name of the pod that gave it.
//!
//! Everything it knows comes from its manifest: `GREETING` from a ConfigMap, `POD_NAME` from the
//! pod's own metadata. `/healthz` is for the readiness probe.

use std::env;

use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path();
    // The probe asks every few seconds; the log is for what people asked.
    if path != "/healthz" {
        println!("{} {path}", request.method());
    }
    match path {
        "/" => answer(StatusCode::OK, hello()),
        "/healthz" => answer(StatusCode::OK, "ok\n".into()),
        _ => answer(StatusCode::NOT_FOUND, format!("nothing at {path}\n")),
    }
}

fn hello() -> String {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "Hello!".into());
    let pod = env::var("POD_NAME").or_else(|_| env::var("HOSTNAME"));
    format!("{greeting}\nI am {}.\n", pod.as_deref().unwrap_or("nobody in particular"))
}

fn answer(status: StatusCode, text: String) -> Result<Response<Body>, Error> {
    Ok(Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", text.len())
        .body(text.into())?)
}
