//! WebSocket, the server's side (RFC 6455): the handshake's answer, messages out of bytes and bytes out of messages. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Something for whoever uses the connection.
    Data(Bytes),
    /// A question whether anybody is there; it wants its bytes back.
    Ping(Bytes),
    /// The client is done.
    Close,
}

/// What cannot be a message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A client masks what it sends.
    #[error("a frame is not masked")]
    Unmasked,
    /// A kind of frame that does not exist, or one where it may not be.
    #[error("a frame of kind {0} has no place here")]
    Kind(u8),
    /// Larger than anything a client of ours has to say at once.
    #[error("a message is too large")]
    Large,
}

/// Reads messages out of a connection's bytes.
#[derive(Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// What has come of a message that comes in several frames.
    begun: Option<BytesMut>,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The connection is closed because its work is done.
const DONE: u16 = 1000;
/// What the standard mixes into every handshake.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Go's clients write at most 32 KiB at once; others a megabyte.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The answer to a client's `Sec-WebSocket-Key`.
pub(crate) fn accept(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(SALT).finalize())
}

/// A message.
pub(crate) fn data(bytes: &[u8]) -> Bytes {
    frame(BINARY, bytes)
}

/// The answer to a ping.
pub(crate) fn pong(bytes: &[u8]) -> Bytes {
    frame(PONG, bytes)
}

/// The last message.
pub(crate) fn close() -> Bytes {
    frame(CLOSE, &DONE.to_be_bytes())
}

fn frame(kind: u8, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(bytes.len() + 10);
    frame.put_u8(FIN | kind);
    match bytes.len() {
        length @ 0..126 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(bytes);
    frame.freeze()
}

// === impl Decoder ===

impl Decoder {
    /// Takes what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is wholly there.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Malformed> {
        loop {
            let Some((last, kind, payload)) = self.whole()? else { return Ok(None) };
            match (kind, last) {
                (TEXT | BINARY, true) if self.begun.is_none() => return Ok(Some(Message::Data(payload))),
                (TEXT | BINARY, false) if self.begun.is_none() => self.begun = Some(payload.into()),
                (CONTINUATION, last) => {
                    let Some(mut begun) = self.begun.take() else { return Err(Malformed::Kind(kind)) };
                    if begun.len() + payload.len() > MESSAGE_BYTES_MAX {
                        return Err(Malformed::Large);
                    }
                    begun.extend_from_slice(&payload);
                    if last {
                        return Ok(Some(Message::Data(begun.freeze())));
                    }
                    self.begun = Some(begun);
                }
                (CLOSE, true) => return Ok(Some(Message::Close)),
                (PING, true) => return Ok(Some(Message::Ping(payload))),
                (PONG, true) => {}
                (kind, _) => return Err(Malformed::Kind(kind)),
            }
        }
    }

    fn whole(&mut self) -> Result<Option<(bool, u8, Bytes)>, Malformed> {
        let mut head = &self.buffer[..];
        let (Ok(first), Ok(second)) = (head.try_get_u8(), head.try_get_u8()) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Malformed::Unmasked);
        }
        let length = match second & !MASKED {
            126 => head.try_get_u16().map(u64::from),
            127 => head.try_get_u64(),
            short => Ok(u64::from(short)),
        };
        let Ok(length) = length else { return Ok(None) };
        if length > MESSAGE_BYTES_MAX as u64 {
            return Err(Malformed::Large);
        }
        let (length, Ok(mask)) = (length as usize, head.try_get_u32()) else { return Ok(None) };
        if head.len() < length {
            return Ok(None);
        }
        self.buffer.advance(self.buffer.len() - head.len());
        let mut payload = self.buffer.split_to(length);
        for (byte, key) in payload.iter_mut().zip(mask.to_be_bytes().into_iter().cycle()) {
            *byte ^= key;
        }
        // The three bits behind the first are for extensions, and none was agreed on.
        match first & !FIN {
            kind @ 0..=0x0f => Ok(Some((first & FIN != 0, kind, payload.freeze()))),
            kind => Err(Malformed::Kind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a client sends.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut sent = frame(0, payload).to_vec();
        let head = sent.len() - payload.len();
        (sent[0], sent[1]) = (first, sent[1] | MASKED);
        let mask = [1, 2, 3, 4];
        let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        [&sent[..head], &mask[..], &payload[..]].concat()
    }

    fn check(sent: &[Vec<u8>], expect: &[Result<Message, Malformed>]) {
        let mut decoder = Decoder::default();
        decoder.push(&sent.concat());
        let mut told = Vec::new();
        while let Some(message) = decoder.next().transpose() {
            let over = message.is_err();
            told.push(message);
            if over {
                break;
            }
        }
        assert_eq!(told, expect);
    }

    #[test]
    fn the_handshake_is_the_one_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_come_whole_or_in_parts() {
        let bytes = |text: &'static str| Ok(Message::Data(Bytes::from_static(text.as_bytes())));
        check(&[masked(FIN | BINARY, b"a"), masked(FIN | BINARY, b"")], &[bytes("a"), bytes("")]);
        let parts = [masked(BINARY, b"a"), masked(FIN | PING, b"?"), masked(FIN | CONTINUATION, b"b")];
        check(&parts, &[Ok(Message::Ping(Bytes::from_static(b"?"))), bytes("ab")]);
        check(&[masked(FIN | CLOSE, &[3, 0xe8])], &[Ok(Message::Close)]);
        let large = vec![b'x'; 70_000];
        check(&[masked(FIN | BINARY, &large)], &[Ok(Message::Data(large.into()))]);
    }

    #[test]
    fn what_no_client_sends_is_refused() {
        check(&[data(b"a").to_vec()], &[Err(Malformed::Unmasked)]);
        check(&[masked(FIN | CONTINUATION, b"a")], &[Err(Malformed::Kind(CONTINUATION))]);
        check(&[masked(FIN | 3, b"a")], &[Err(Malformed::Kind(3))]);
        check(&[masked(FIN | 0x40 | BINARY, b"a")], &[Err(Malformed::Kind(0x42))]);
        check(&[vec![FIN | BINARY, MASKED | 127, 0, 0, 0, 1, 0, 0, 0, 0]], &[Err(Malformed::Large)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
