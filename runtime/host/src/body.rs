//! The one type of message body at the host's border.

mod lingering;
mod paced;

pub(crate) use lingering::Lingering;
pub(crate) use paced::Paced;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

/// Why a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body with trailers, of a request or a response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body without content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is already there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The same body for a guest to read.
pub(crate) fn inward(body: Body) -> WasiBody {
    body.map_err(|error| match error.downcast::<WasiError>() {
        Ok(error) => *error,
        Err(error) => WasiError::InternalError(Some(error.to_string())),
    })
    .boxed_unsync()
}

/// A guest's body for the outside to read.
pub(crate) fn outward(body: WasiBody) -> Body {
    body.map_err(|error| Box::new(WasiReason(error)) as BodyError).boxed_unsync()
}

/// The same for a request, whose reader may lose interest before its end.
pub(crate) fn lingering(body: WasiBody) -> Body {
    Lingering::new(outward(body)).boxed_unsync()
}

/// `wasi:http`'s error as a standard one, which it is not by itself.
#[derive(Debug)]
pub(crate) struct WasiReason(pub(crate) WasiError);

impl std::fmt::Display for WasiReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for WasiReason {}
