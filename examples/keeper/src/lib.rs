//! A server that keeps what it is given in what its host provides, by interfaces that know nothing of Kubernetes.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /` | greets as `wasi:config` says, counts the visit in the bucket `visits`, and logs it |
//! | `GET /config`, `/config/KEY` | all of its configuration, one to a line; one value |
//! | `POST /log/LEVEL/CONTEXT` | logs the body |
//! | `GET`, `PUT`, `DELETE /buckets/BUCKET/KEY` | a value |
//! | `GET /buckets/BUCKET` | the keys, one to a line |
//! | `POST /buckets/BUCKET/KEY?by=N` | adds N to a counter, and says what it is then |
//! | `POST /swaps/BUCKET/KEY?from=TEXT` | puts the body if the value is TEXT, else answers 409 with what it is |
//! | `POST /races/BUCKET/KEY` | reads, writes, and only then tries to replace what it read: 409 with what is there |
//! | `GET`, `PUT`, `DELETE /containers/CONTAINER/OBJECT` | an object, as a stream |
//! | `GET`, `PUT`, `DELETE /containers/CONTAINER` | the names of its objects, one to a line; makes one; removes one |
//! | `POST /copies/CONTAINER/OBJECT?to=OBJECT` | copies an object |
//!
//! Counters and values are `wasi:keyvalue` 0.2.0-draft, swaps and counters below zero 0.2.0-draft2.

mod buckets;
mod containers;
mod facilities;

use facilities::wasi::config::store as config;
use facilities::wasi::logging::logging::{self, Level};
use wstd::http::body::Body;
use wstd::http::{BodyExt, Error, Request, Response, StatusCode};

/// What came of a request: a text, or what to say instead.
pub(crate) type Outcome = Result<Vec<u8>, (StatusCode, String)>;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = body.into_boxed_body().collect().await?.to_bytes();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default());
    let value = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let steps: Vec<&str> = path.trim_start_matches('/').splitn(3, '/').collect();
    let outcome = match (head.method.as_str(), steps.as_slice()) {
        ("GET", [""]) => greet(),
        ("GET", ["healthz"]) => Ok(b"ok\n".to_vec()),
        ("GET", ["config"]) => settings(),
        ("GET", ["config", key]) => setting(key),
        ("POST", ["log", level, context]) => log(level, context, &body),
        (method, ["buckets", bucket]) => buckets::of(method, bucket),
        (method, ["buckets", bucket, key]) => buckets::entry(method, bucket, key, value("by"), &body),
        ("POST", ["swaps", bucket, key]) => buckets::swap(bucket, key, value("from"), &body),
        ("POST", ["races", bucket, key]) => buckets::race(bucket, key),
        (method, ["containers", container]) => containers::of(method, container),
        (method, ["containers", container, object]) => containers::object(method, container, object, &body),
        ("POST", ["copies", container, object]) => containers::copy(container, object, value("to").unwrap_or_default()),
        _ => Err((StatusCode::NOT_FOUND, format!("nothing at {path}"))),
    };
    let (status, bytes) = match outcome {
        Ok(bytes) => (StatusCode::OK, bytes),
        Err((status, why)) => (status, format!("{why}\n").into_bytes()),
    };
    Ok(Response::builder().status(status).body(bytes.into())?)
}

fn greet() -> Outcome {
    let greeting = config::get("GREETING").map_err(failed)?.unwrap_or_else(|| "Hello!".into());
    let visits = buckets::visit()?;
    logging::log(Level::Info, "visits", &format!("number {visits}"));
    Ok(format!("{greeting}\nYou are visitor number {visits}.\n").into_bytes())
}

fn settings() -> Outcome {
    let mut all = config::get_all().map_err(failed)?;
    all.sort();
    Ok(all.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>().into_bytes())
}

fn setting(key: &str) -> Outcome {
    let value = config::get(key).map_err(failed)?;
    value.map(String::into_bytes).ok_or((StatusCode::NOT_FOUND, format!("no {key} is configured")))
}

fn log(level: &str, context: &str, message: &[u8]) -> Outcome {
    let level = match level {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => return Err((StatusCode::NOT_FOUND, format!("{level} is no level"))),
    };
    logging::log(level, context, &String::from_utf8_lossy(message));
    Ok(Vec::new())
}

/// What the host could not do.
pub(crate) fn failed(error: impl std::fmt::Debug) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, format!("{error:?}"))
}

pub(crate) fn not_allowed(method: &str) -> Outcome {
    Err((StatusCode::METHOD_NOT_ALLOWED, format!("{method} means nothing here")))
}
