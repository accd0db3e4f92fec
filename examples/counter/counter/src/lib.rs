//! Counts the words of the text it is sent, and signs with its pod's name.
//!
//! It keeps nothing between requests: a pod may answer each from a fresh instance.

use std::env;

use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if request.uri().path() == "/healthz" {
        return Ok(Response::new("ok\n".into()));
    }
    let mut body = request.into_body();
    let Ok(text) = body.str_contents().await else {
        println!("refused: not text");
        return Ok(Response::builder().status(StatusCode::BAD_REQUEST).body("not text\n".into())?);
    };
    let words = text.split_whitespace().count();
    println!("counted {words} words");
    let pod = env::var("POD_NAME").unwrap_or_default();
    Ok(Response::new(format!("{words} words, says {pod}\n").into()))
}
