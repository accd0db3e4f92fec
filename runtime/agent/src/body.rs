//! Bodies that are wanted whole.

use bytes::Bytes;
use futures::TryFutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use network::{Body, BoxError};

/// The whole of a body that is no larger than `max_bytes`. Boxed, because the compiler cannot show of the bare future that a
/// task which waits for it may move between threads.
pub(crate) fn whole(body: Body, max_bytes: usize) -> BoxFuture<'static, Result<Bytes, BoxError>> {
    Box::pin(Limited::new(body, max_bytes).collect().map_ok(http_body_util::Collected::to_bytes))
}
