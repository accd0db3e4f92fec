//! `/PRODUCT` tells what a product costs. It asks an interface, and the manifest says who answers: another component, linked when
//! the pod is prepared, so that the question is a call and no request.

wit_bindgen::generate!({ path: "../wit", world: "web" });

use example::shop::prices;
use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let product = request.uri().path().trim_start_matches('/');
    let (status, text) = match (product, prices::of(product)) {
        ("healthz", _) => (StatusCode::OK, "ok\n".to_owned()),
        (_, Some(cents)) => (StatusCode::OK, format!("{product}: {}.{:02}\n", cents / 100, cents % 100)),
        (_, None) => (StatusCode::NOT_FOUND, format!("no {product} is sold here\n")),
    };
    Ok(Response::builder().status(status).body(text.into())?)
}
