//! A body that is compressed as it is read.
//!
//! A piece at a time: whoever asks for a long list in small bytes keeps nobody waiting, and what is not read yet is not there yet.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;

/// A body, smaller.
pub(super) struct Gzipped {
    body: Body,
    /// What the body has given and is not compressed yet.
    rest: Bytes,
    /// None once the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

/// So much is compressed at once: a quarter of a millisecond's work.
const PIECE_BYTES: usize = 32 * 1024;
/// Less is not worth a frame of its own.
const FRAME_BYTES_MIN: usize = 8 * 1024;

// === impl Gzipped ===

impl Gzipped {
    pub(super) fn new(body: Body, level: u32) -> Self {
        Self { body, rest: Bytes::new(), encoder: Some(GzEncoder::new(Vec::new(), Compression::new(level))) }
    }

    /// Compresses a piece of what there is; what comes out is handed over once it is worth it.
    fn squeeze(&mut self) -> io::Result<Option<Bytes>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        encoder.write_all(&piece)?;
        let out = encoder.get_mut();
        Ok((out.len() >= FRAME_BYTES_MIN).then(|| std::mem::take(out).into()))
    }
}

impl HttpBody for Gzipped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.rest.has_remaining() {
                match self.squeeze().map_err(axum::Error::new) {
                    Ok(None) => continue,
                    Ok(Some(out)) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let Some(encoder) = self.encoder.take() else { return Poll::Ready(None) };
                    let last = encoder.finish().map(|out| Frame::data(out.into())).map_err(axum::Error::new);
                    return Poll::Ready(Some(last));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::BodyExt;
    use std::io::Read;

    #[test]
    fn what_comes_out_is_what_went_in() {
        for length in [0, 1, 100, 1_000_000] {
            let text: Vec<u8> = (0..length).map(|at: usize| (at * at % 251) as u8).collect();
            let gzipped = Gzipped::new(Body::from(text.clone()), 1);
            let small = gzipped.collect().now_or_never().expect("nothing to wait for").expect("compressed").to_bytes();
            let mut found = Vec::new();
            flate2::read::GzDecoder::new(&small[..]).read_to_end(&mut found).expect("gzip");
            assert!(found == text, "{length}");
        }
    }
}
