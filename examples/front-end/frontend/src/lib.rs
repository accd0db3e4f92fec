//! Passes every request on to `http://hello`, the backend's service, and the answer back, both as they come.

use wstd::http::{Body, Client, Error, HeaderMap, Request, Response, StatusCode};

const BACKEND: &str = "http://hello";

/// What is between two neighbours and goes no further; each side says its own.
const OF_ONE_CONNECTION: [&str; 10] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let url = format!("{BACKEND}{target}");
    println!("{} {url}", request.method());
    match pass_on(&url, request).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            eprintln!("{url}: {error:#}");
            Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(format!("{url}: {error:#}\n").into())?)
        }
    }
}

async fn pass_on(url: &str, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let mut onward = Request::builder().method(head.method).uri(url).body(body)?;
    *onward.headers_mut() = end_to_end(head.headers);
    let (head, body) = Client::new().send(onward).await?.into_parts();
    let mut answer = Response::builder().status(head.status).body(body)?;
    *answer.headers_mut() = end_to_end(head.headers);
    Ok(answer)
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}
