//! Has words counted by another service: the body of a POST, or a line of its own.
//!
//! It calls the service by name, as a pod does in any cluster: `COUNTER_URL` is `http://counter`.

use std::env;

use wstd::http::{Body, Client, Error, Method, Request, Response, StatusCode};

const A_LINE: &str = "a round boat of willow and hide, light enough to carry";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if request.uri().path() == "/healthz" {
        return Ok(Response::new("ok\n".into()));
    }
    let text = match *request.method() {
        Method::POST => request.into_body(),
        _ => A_LINE.into(),
    };
    let url = env::var("COUNTER_URL").unwrap_or_else(|_| "http://counter".into());
    let pod = env::var("POD_NAME").unwrap_or_default();
    match count(&url, text).await {
        Ok(count) => {
            println!("{url}: {}", count.trim_end());
            Ok(Response::new(format!("{pod} asked {url}: {count}").into()))
        }
        Err(error) => {
            eprintln!("{url}: {error:#}");
            let body = format!("{pod} asked {url}: {error:#}\n");
            Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(body.into())?)
        }
    }
}

async fn count(url: &str, text: Body) -> Result<String, Error> {
    let mut answer = Client::new().send(Request::post(url).body(text)?).await?.into_body();
    Ok(answer.str_contents().await?.to_owned())
}
