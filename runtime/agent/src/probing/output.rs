//! What a command printed, as far as it fits into an event.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use host::{Sink, SinkClosed};

/// Keeps the beginning of what is written, whole streams being for nobody.
#[derive(Debug, Default)]
pub(super) struct Output(Mutex<Vec<u8>>);

/// As much as an event can tell.
const TEXT_BYTES_MAX: usize = 1_024;
/// As much as a guest writes at a time.
const WRITE_BYTES_MAX: usize = 64 * 1024;

// === impl Output ===

impl Output {
    /// The text, if there is any.
    pub(super) fn text(&self) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

impl Sink for Output {
    fn room(&self) -> usize {
        WRITE_BYTES_MAX
    }

    fn ready(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn write(&self, bytes: Bytes) -> Result<(), SinkClosed> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = TEXT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }
}
