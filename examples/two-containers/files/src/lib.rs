//! Serves the files below a folder: `$ROOT`, by default where nginx has them. `/` and folders mean their `index.html`.

use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use wstd::http::{Body, Error, Method, Request, Response, StatusCode};

const ROOT: &str = "/usr/share/nginx/html";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path();
    println!("{} {path}", request.method());
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n".into());
    }
    let found = place(path).and_then(|file| Some((kind(&file), fs::read(file).ok()?)));
    match found {
        Some((kind, content)) => answer(StatusCode::OK, kind, content),
        None => answer(StatusCode::NOT_FOUND, "text/plain", format!("nothing at {path}\n").into()),
    }
}

/// The file that a path means; none where it leads out of the folder.
fn place(path: &str) -> Option<PathBuf> {
    let inner = Path::new(path.trim_start_matches('/'));
    let is_inside = inner.components().all(|part| matches!(part, Component::Normal(_)));
    let file = Path::new(&env::var("ROOT").unwrap_or_else(|_| ROOT.into())).join(inner);
    let file = if file.is_dir() { file.join("index.html") } else { file };
    is_inside.then_some(file)
}

fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|end| end.to_str()) {
        Some("html") => "text/html",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}

fn answer(status: StatusCode, kind: &str, content: Vec<u8>) -> Result<Response<Body>, Error> {
    let head = Response::builder().status(status).header("content-type", kind).header("content-length", content.len());
    Ok(head.body(content.into())?)
}
