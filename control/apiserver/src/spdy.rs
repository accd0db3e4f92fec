//! SPDY/3.1, as much of it as Kubernetes' clients speak: streams that the client opens, data both ways, pings and resets.
//!
//! Pure: bytes become frames and frames become bytes, nothing here reads or writes a connection. Windows are announced to the
//! peer, so that one that heeds them goes on; the peer's own are not waited for, because Kubernetes' Go clients never open
//! theirs. Back-pressure is that of the connection below.

mod dictionary;
mod headers;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use headers::{Deflate, Inflate};

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A stream begins.
    Open {
        /// Its number.
        stream: u32,
        /// What it is for.
        headers: Vec<(String, String)>,
        /// Whether nothing will be sent on it.
        ends: bool,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
        /// Whether they are the last.
        ends: bool,
    },
    /// A stream is over at once, both ways.
    Reset(u32),
    /// A question whether anybody is there; the answer is the same again.
    Ping(u32),
    /// No more streams will come.
    GoAway,
}

/// What cannot be SPDY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Another version, or no SPDY at all.
    #[error("not a frame of SPDY/3.1")]
    Version,
    /// Larger than anything a client of ours has to say at once.
    #[error("a frame of {0} bytes is too large")]
    Large(usize),
    /// A frame is shorter than its kind.
    #[error("a frame ends early")]
    Short,
    /// The header block makes no sense.
    #[error("the headers of a stream cannot be read")]
    Headers,
}

/// Reads frames out of a connection's bytes.
pub(crate) struct Decoder {
    buffer: BytesMut,
    inflate: Inflate,
}

/// Writes frames.
pub(crate) struct Encoder {
    deflate: Deflate,
}

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const WINDOW_UPDATE: u16 = 9;
const FIN: u8 = 1;
/// The stream's peer is told that it is no longer wanted.
const CANCEL: u32 = 5;
const STREAM_MASK: u32 = 0x7fff_ffff;
const HEAD_BYTES: usize = 8;
/// Go's clients write at most 32 KiB at once; others a megabyte.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// A frame's length has three bytes; there is no need to fill them.
const DATA_BYTES_MAX: usize = 1 << 20;

// === impl Decoder ===

impl Decoder {
    /// A connection of which nothing has been read.
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), inflate: Inflate::new() }
    }

    /// Takes what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that is wholly there; frames that mean nothing here are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        loop {
            let Some((head, flags, body)) = self.whole()? else { return Ok(None) };
            if head >> 31 == 0 {
                return Ok(Some(Frame::Data { stream: head & STREAM_MASK, bytes: body, ends: flags & FIN != 0 }));
            }
            let (version, kind) = ((head >> 16) as u16 & !CONTROL, head as u16);
            if version != VERSION {
                return Err(Malformed::Version);
            }
            if let Some(frame) = self.control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn whole(&mut self) -> Result<Option<(u32, u8, Bytes)>, Malformed> {
        let Some(mut head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        let (first, second) = (head.get_u32(), head.get_u32());
        let length = (second & 0x00ff_ffff) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Malformed::Large(length));
        }
        if self.buffer.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        Ok(Some((first, (second >> 24) as u8, self.buffer.split_to(length).freeze())))
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, Malformed> {
        let mut number = || body.try_get_u32().map(|number| number & STREAM_MASK).map_err(|_| Malformed::Short);
        Ok(Some(match kind {
            SYN_STREAM => {
                let stream = number()?;
                // The stream it belongs to, and its priority: both mean nothing here.
                number()?;
                if body.len() < 2 {
                    return Err(Malformed::Short);
                }
                body.advance(2);
                Frame::Open { stream, headers: self.inflate.headers(&body)?, ends: flags & FIN != 0 }
            }
            SYN_REPLY => {
                number()?;
                // Both directions' blocks are one compressed stream each: none may be left out.
                self.inflate.headers(&body)?;
                return Ok(None);
            }
            RST_STREAM => Frame::Reset(number()?),
            PING => Frame::Ping(body.try_get_u32().map_err(|_| Malformed::Short)?),
            GOAWAY => Frame::GoAway,
            _ => return Ok(None),
        }))
    }
}

// === impl Encoder ===

impl Encoder {
    /// A connection on which nothing has been written.
    pub(crate) fn new() -> Self {
        Self { deflate: Deflate::new() }
    }

    /// A stream that the peer opened is accepted. Replies must be sent in the order in which they are made.
    pub(crate) fn accept(&mut self, stream: u32) -> Result<Bytes, Malformed> {
        let block = self.deflate.headers(&[])?;
        let mut frame = control(SYN_REPLY, 4 + block.len());
        frame.put_u32(stream);
        frame.put_slice(&block);
        Ok(frame.freeze())
    }
}

/// Bytes of a stream, in as many frames as they need.
pub(crate) fn data(stream: u32, mut bytes: Bytes, ends: bool) -> Bytes {
    let mut frames = BytesMut::with_capacity(bytes.len() + HEAD_BYTES);
    loop {
        let piece = bytes.split_to(bytes.len().min(DATA_BYTES_MAX));
        let last = bytes.is_empty();
        frames.put_u32(stream & STREAM_MASK);
        frames.put_u32(u32::from(if last && ends { FIN } else { 0 }) << 24 | piece.len() as u32);
        frames.put_slice(&piece);
        if last {
            return frames.freeze();
        }
    }
}

/// A stream is over at once.
pub(crate) fn reset(stream: u32) -> Bytes {
    let mut frame = control(RST_STREAM, 8);
    frame.put_u32(stream);
    frame.put_u32(CANCEL);
    frame.freeze()
}

/// The answer to a ping.
pub(crate) fn pong(number: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(number);
    frame.freeze()
}

/// The peer may send so many bytes more, on the stream and on the connection.
pub(crate) fn more(stream: u32, bytes: usize) -> Bytes {
    let mut frames = BytesMut::new();
    for stream in [stream, 0] {
        let mut frame = control(WINDOW_UPDATE, 8);
        frame.put_u32(stream);
        frame.put_u32(bytes as u32 & STREAM_MASK);
        frames.unsplit(frame);
    }
    frames.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
    frame.put_u16(CONTROL | VERSION);
    frame.put_u16(kind);
    frame.put_u32(length as u32);
    frame
}

#[cfg(test)]
mod tests;
