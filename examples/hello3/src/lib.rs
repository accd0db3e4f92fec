//! The same hello on wasi:http 0.3, where a handler is an async function and a body a stream:
//! one instance serves many requests at once. `/slow` shows it: it waits a second, the others do not.

use std::env;

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

const SECOND_NS: u64 = 1_000_000_000;

struct Hello;

wasip3::http::service::export!(Hello);

impl Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        if path != "/healthz" {
            println!("{path}");
        }
        match path.as_str() {
            "/" => answer(200, hello()),
            "/healthz" => answer(200, "ok\n".into()),
            "/slow" => {
                wait_for(SECOND_NS).await;
                answer(200, hello())
            }
            _ => answer(404, format!("nothing at {path}\n")),
        }
    }
}

fn hello() -> String {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "Hello!".into());
    let pod = env::var("POD_NAME").or_else(|_| env::var("HOSTNAME"));
    format!("{greeting}\nI am {}.\n", pod.as_deref().unwrap_or("nobody in particular"))
}

fn answer(status: u16, text: String) -> Result<Response, ErrorCode> {
    let headers = Fields::from_list(&[("content-type".into(), b"text/plain; charset=utf-8".to_vec())])
        .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (mut body, reader) = wit_stream::new();
    // No trailers: the sender's end is dropped, and the default is what the host reads.
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(reader), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(Some(format!("status {status}"))))?;
    // Written after the head has gone; who no longer listens takes nothing, which is no fault.
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    Ok(response)
}
