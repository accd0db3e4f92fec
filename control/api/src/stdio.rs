//! The streams of a command on their way between the API server and its node: pieces, each on a channel.
//!
//! The channels are those of Kubernetes' `v5.channel.k8s.io`, so that what comes in a client's message goes on as it is. Here
//! pieces come in a stream of bytes, so each says how long it is. Pure: nothing here reads or writes a connection.
//!
//! ```text
//! piece    channel u8 | length u32, big endian | that many bytes
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the command reads.
pub const STDIN: u8 = 0;
/// What it writes.
pub const STDOUT: u8 = 1;
/// What it complains about; a command at a terminal says that too where it says everything.
pub const STDERR: u8 = 2;
/// How it ended: a `Status`, and nothing comes after it.
pub const ERROR: u8 = 3;
/// How large the client's terminal is.
pub const RESIZE: u8 = 4;
/// A channel is done: the piece is its number.
pub const CLOSE: u8 = 255;

/// Clients write at most 32 KiB at once, some a megabyte.
pub const PIECE_BYTES_MAX: usize = 4 << 20;

const HEAD_BYTES: usize = 5;

/// Some bytes of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which channel.
    pub channel: u8,
    /// The bytes; for a [`CLOSE`] the channel that is done.
    pub bytes: Bytes,
}

/// Larger than any piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piece of {0} bytes is too large")]
pub struct TooLarge(pub usize);

/// Finds pieces in a stream of bytes.
#[derive(Debug, Default)]
pub struct Pieces {
    buffer: BytesMut,
}

// === impl Piece ===

impl Piece {
    /// Some bytes of a channel.
    pub fn new(channel: u8, bytes: impl Into<Bytes>) -> Self {
        Self { channel, bytes: bytes.into() }
    }

    /// That a channel is done.
    pub fn close(channel: u8) -> Self {
        Self::new(CLOSE, vec![channel])
    }

    /// As it travels.
    pub fn encode(&self) -> Bytes {
        let mut encoded = BytesMut::with_capacity(HEAD_BYTES + self.bytes.len());
        encoded.put_u8(self.channel);
        encoded.put_u32(self.bytes.len() as u32);
        encoded.put_slice(&self.bytes);
        encoded.freeze()
    }
}

// === impl Pieces ===

impl Pieces {
    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece that is wholly there.
    pub fn take(&mut self) -> Result<Option<Piece>, TooLarge> {
        let mut head = &self.buffer[..];
        let (Ok(channel), Ok(length)) = (head.try_get_u8(), head.try_get_u32()) else { return Ok(None) };
        let length = length as usize;
        if length > PIECE_BYTES_MAX {
            return Err(TooLarge(length));
        }
        if head.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        Ok(Some(Piece { channel, bytes: self.buffer.split_to(length).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_come_out_as_they_went_in_however_they_travel(
            sent in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..50)), 0..20),
            step in 1..40_usize,
        ) {
            let sent: Vec<Piece> = sent.into_iter().map(|(channel, bytes)| Piece::new(channel, bytes)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(Piece::encode).collect();
            let (mut pieces, mut came) = (Pieces::default(), Vec::new());
            for part in bytes.chunks(step) {
                pieces.push(part);
                while let Some(piece) = pieces.take().expect("no piece is too large") {
                    came.push(piece);
                }
            }
            prop_assert_eq!(came, sent);
        }
    }

    #[test]
    fn what_is_too_large_is_not_waited_for() {
        let mut pieces = Pieces::default();
        pieces.push(&[STDIN, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(pieces.take(), Err(TooLarge(0xffff_ffff)));
    }
}
