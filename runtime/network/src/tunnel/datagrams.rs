//! Datagrams on a stream: each a frame that says how long it is, who asks, from where and where to.
//!
//! ```text
//! u32 length of what follows | u16 length | who asks | from | to | the datagram      an address: u8 4 or 6, its bytes, u16 port
//! ```
//! All numbers have their highest byte first.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::words::{Read, Written};
use crate::Origin;

/// The largest datagram with its addresses and the longest names around it.
const FRAME_BYTES_MAX: usize = 68 << 10;

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) origin: Origin,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
}

/// What has come of a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

/// A stream that is not one of frames.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame of a datagram cannot be read")]
pub(super) struct Malformed;

/// A datagram as a frame.
pub(super) fn encode(origin: &Origin, from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Bytes {
    let origin = Written(origin).to_string();
    let mut frame = BytesMut::with_capacity(4 + 2 + origin.len() + 2 * 19 + datagram.len());
    frame.put_u32(0);
    frame.put_u16(origin.len() as u16);
    frame.put_slice(origin.as_bytes());
    put_address(&mut frame, from);
    put_address(&mut frame, to);
    frame.put_slice(datagram);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

fn put_address(frame: &mut BytesMut, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            frame.put_u8(4);
            frame.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            frame.put_u8(6);
            frame.put_slice(&ip.octets());
        }
    }
    frame.put_u16(address.port());
}

fn decode(mut frame: Bytes) -> Result<Datagram, Malformed> {
    let length = usize::from(frame.try_get_u16().map_err(|_| Malformed)?);
    if frame.len() < length {
        return Err(Malformed);
    }
    let origin = frame.split_to(length);
    let origin = std::str::from_utf8(&origin).ok().and_then(|text| text.parse::<Read>().ok()).ok_or(Malformed)?;
    let (from, to) = (get_address(&mut frame)?, get_address(&mut frame)?);
    Ok(Datagram { origin: origin.0, from, to, bytes: frame })
}

fn get_address(frame: &mut Bytes) -> Result<SocketAddr, Malformed> {
    let ip: IpAddr = match frame.try_get_u8() {
        Ok(4) => frame.try_get_u32().map_err(|_| Malformed)?.to_be_bytes().into(),
        Ok(6) => frame.try_get_u128().map_err(|_| Malformed)?.to_be_bytes().into(),
        _ => return Err(Malformed),
    };
    Ok(SocketAddr::new(ip, frame.try_get_u16().map_err(|_| Malformed)?))
}

// === impl Frames ===

impl Frames {
    /// More of the stream.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next datagram, if all of it is there.
    pub(super) fn next(&mut self) -> Option<Result<Datagram, Malformed>> {
        let length = u32::from_be_bytes(*self.0.first_chunk()?) as usize;
        if length > FRAME_BYTES_MAX {
            return Some(Err(Malformed));
        }
        if self.0.len() < 4 + length {
            return None;
        }
        self.0.advance(4);
        Some(decode(self.0.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(length: usize) -> Datagram {
        Datagram {
            origin: Origin::pod("shop", "web-0", "10.42.0.2".parse().expect("an address")),
            from: "10.42.0.2:4000".parse().expect("an address"),
            to: "[fd00::1]:53".parse().expect("an address"),
            bytes: vec![b'x'; length].into(),
        }
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let sent: Vec<Datagram> = [0, 1, 500, 65_507].map(datagram).into();
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|datagram| encode(&datagram.origin, datagram.from, datagram.to, &datagram.bytes))
            .collect();
        for cut in [1, 3, 700, 1 << 20] {
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for piece in stream.chunks(cut) {
                frames.add(piece);
                while let Some(datagram) = frames.next() {
                    read.push(datagram.expect("a datagram"));
                }
            }
            assert!(read == sent, "cut every {cut} bytes");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for wrong in [&[0xff, 0, 0, 0][..], &[0, 0, 0, 1, 9], &[0, 0, 0, 3, 0, 9, 1], &[0, 0, 0, 2, 0, 0]] {
            let mut frames = Frames::default();
            frames.add(wrong);
            assert_eq!(frames.next(), Some(Err(Malformed)), "{wrong:?}");
        }
    }
}
