//! A server that does what its caller asks, good or bad: for trying out limits, faults and routes.
//!
//! | path | what it does |
//! |---|---|
//! | `/` | says its pod's name |
//! | `/healthz` | 200 `ok` |
//! | `/env`, `/args`, `/headers` | what it was given, one to a line |
//! | `/echo` | streams the request's body back |
//! | `/probe.Probe/Echo` | gRPC: each message comes back as it comes, the status in trailers |
//! | `/status?code=N` | answers with that status |
//! | `/slow?ms=N` | answers after waiting |
//! | `/stream?count=N&ms=M` | N lines, M milliseconds apart, each sent as it is written |
//! | `/bytes?count=N` | N bytes |
//! | `/call?url=U` | sends U the same method and body, answers with its status and body |
//! | `/calls?url=U&count=N` | gets U so many times, one after another; says how long one took |
//! | `/dial?to=HOST:PORT&say=TEXT` | connects, says TEXT, ends its half, and answers with all it hears |
//! | `/datagram?to=HOST:PORT&say=TEXT` | sends a datagram, answers with the first that comes back |
//! | `/lookup?name=N` | a name's addresses, one to a line |
//! | `/read?path=P` | the file at P |
//! | `/memory?mib=N` | allocates and touches N MiB |
//! | `/spin?ms=N` | a busy loop; without `ms` for ever |
//! | `/log?line=TEXT` | TEXT to standard error |
//! | `/exit` | panics, which is a trap |
//!
//! A value in the query may be percent-encoded. Each request but `/healthz` is one line of the log.

mod query;
mod talk;

use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{env, fs};

use query::Query;
use wstd::http::body::{Body, Bytes};
use wstd::http::{BodyExt, Client, Error, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

const MIB: usize = 1 << 20;

type Answer = Result<Response<Body>, Error>;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let query = Query::from(request.uri().query().unwrap_or_default());
    if path != "/healthz" {
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        println!("{} {target}", request.method());
    }
    match path.as_str() {
        "/" => text(pod() + "\n"),
        "/healthz" => text("ok\n"),
        "/env" => text(environment()),
        "/args" => text(lines(env::args())),
        "/headers" => text(headers(&request)),
        "/echo" => Ok(Response::new(request.into_body())),
        "/probe.Probe/Echo" => grpc(request),
        "/status" => status(&query),
        "/slow" => slow(&query).await,
        "/stream" => stream(&query),
        "/bytes" => Ok(Response::new(vec![b'.'; query.number("count").unwrap_or(0)].into())),
        "/call" => call(&query, request).await,
        "/calls" => calls(&query).await,
        "/dial" => talked(talk::dial(&query)),
        "/datagram" => talked(talk::datagram(&query)),
        "/lookup" => talked(talk::lookup(&query)),
        "/read" => read(&query),
        "/memory" => text(memory(query.number("mib").unwrap_or(1))),
        "/spin" => text(spin(query.number("ms"))),
        "/log" => text(log(&query)),
        "/exit" => panic!("asked to exit"),
        _ => reply(StatusCode::NOT_FOUND, format!("nothing at {path}\n")),
    }
}

// === what it was given ===

fn pod() -> String {
    env::var("POD_NAME").or_else(|_| env::var("HOSTNAME")).unwrap_or_default()
}

fn environment() -> String {
    let mut all: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    all.sort();
    lines(all)
}

fn headers(request: &Request<Body>) -> String {
    lines(
        request.headers().iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))),
    )
}

fn read(query: &Query) -> Answer {
    let Some(path) = query.get("path") else {
        return reply(StatusCode::BAD_REQUEST, "which path?\n");
    };
    match fs::read(&path) {
        Ok(bytes) => Ok(Response::new(bytes.into())),
        Err(error) => reply(StatusCode::NOT_FOUND, format!("{path}: {error}\n")),
    }
}

// === how it answers ===

fn talked(heard: Result<Vec<u8>, String>) -> Answer {
    match heard {
        Ok(heard) => Ok(Response::new(heard.into())),
        Err(reason) => reply(StatusCode::BAD_GATEWAY, reason + "\n"),
    }
}

fn grpc(request: Request<Body>) -> Answer {
    let ended = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let messages = request.into_body().into_boxed_body().with_trailers(async { Some(Ok(ended)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(Body::from_http_body(messages))?)
}

fn status(query: &Query) -> Answer {
    let code = query.number("code").and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    match code {
        Some(code) => reply(code, format!("{code}\n")),
        None => reply(StatusCode::BAD_REQUEST, "which code?\n"),
    }
}

async fn slow(query: &Query) -> Answer {
    let ms = query.number("ms").unwrap_or(1000);
    pause(ms).await;
    text(format!("after {ms} ms\n"))
}

fn stream(query: &Query) -> Answer {
    let count = query.number("count").unwrap_or(10);
    let ms = query.number("ms").unwrap_or(100);
    let lines = futures_lite::stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        if sent > 0 {
            pause(ms).await;
        }
        Some((Bytes::from(format!("line {}\n", sent + 1)), sent + 1))
    });
    Ok(Response::new(Body::from_stream(lines)))
}

async fn call(query: &Query, request: Request<Body>) -> Answer {
    let Some(url) = query.get("url") else {
        return reply(StatusCode::BAD_REQUEST, "which url?\n");
    };
    let onward = match Request::builder().method(request.method()).uri(&url).body(request.into_body()) {
        Ok(onward) => onward,
        Err(error) => return reply(StatusCode::BAD_REQUEST, format!("{url}: {error}\n")),
    };
    match Client::new().send(onward).await {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            Ok(Response::builder().status(parts.status).body(body)?)
        }
        Err(error) => reply(StatusCode::BAD_GATEWAY, format!("{url}: {error:#}\n")),
    }
}

async fn calls(query: &Query) -> Answer {
    let Some(url) = query.get("url") else {
        return reply(StatusCode::BAD_REQUEST, "which url?\n");
    };
    let count = query.number("count").unwrap_or(1).max(1);
    let start = Instant::now();
    for _ in 0..count {
        let mut answer = Client::new().send(Request::get(&url).body(Body::empty())?).await?;
        answer.body_mut().contents().await?;
    }
    text(format!("{} ns each\n", start.elapsed().as_nanos() / count as u128))
}

// === how it misbehaves ===

fn memory(mib: usize) -> String {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        held.push(black_box(vec![1; MIB]));
    }
    format!("held {} MiB\n", held.len())
}

fn spin(ms: Option<usize>) -> String {
    let start = Instant::now();
    let mut turns = 0_u64;
    while ms.is_none_or(|ms| start.elapsed() < Duration::from_millis(ms as u64)) {
        turns = black_box(turns) + 1;
    }
    format!("{turns} turns\n")
}

fn log(query: &Query) -> String {
    eprintln!("{}", query.get("line").unwrap_or_default());
    "logged\n".into()
}

// === small words ===

async fn pause(ms: usize) {
    wstd::task::sleep(Duration::from_millis(ms as u64).into()).await;
}

fn lines(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().map(|line| line + "\n").collect()
}

fn text(body: impl Into<String>) -> Answer {
    reply(StatusCode::OK, body)
}

fn reply(status: StatusCode, body: impl Into<String>) -> Answer {
    let body = body.into();
    Ok(Response::builder().status(status).header("content-type", "text/plain; charset=utf-8").body(body.into())?)
}
