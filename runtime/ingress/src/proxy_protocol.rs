//! The PROXY protocol, versions 1 and 2: how a load balancer in front says who the client is.
//!
//! It stands before everything else in a connection, TLS included. Where it is configured, every connection of a trusted
//! proxy begins with it, and nobody else's is read for it: a client cannot claim an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, as the protocol has it.
const LINE_BYTES_MAX: usize = 107;
/// Longest header of version 2 that is waited for: addresses, and what balancers add about TLS.
const HEADER_BYTES_MAX: usize = 4096;
/// Version 2 before its addresses.
const FIXED_BYTES: usize = 16;

/// Who a balancer says the client is, and which address it spoke to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What bytes at the beginning of a connection say.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// More are needed.
    Partial,
    /// As many bytes are the header; without addresses where the balancer speaks for itself.
    Whole(usize, Option<Addresses>),
}

/// Why a connection does not begin as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    #[error("the connection ended")]
    Io(#[from] std::io::Error),
    #[error("the connection does not begin with a PROXY header")]
    Malformed,
}

/// Reads the header at the beginning of a connection; also what was read after it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Option<Addresses>, Bytes), NoHeader> {
    let mut read = BytesMut::with_capacity(256);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if let Header::Whole(length, addresses) = parse(&read).ok_or(NoHeader::Malformed)? {
            let _ = read.split_to(length);
            return Ok((addresses, read.freeze()));
        }
    }
}

/// What `bytes` say; `None`: no PROXY header begins like that.
fn parse(bytes: &[u8]) -> Option<Header> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, with)| byte == with);
    match bytes {
        _ if begins(SIGNATURE) => version2(bytes),
        _ if begins(b"PROXY ") => version1(bytes),
        _ => None,
    }
}

fn version1(bytes: &[u8]) -> Option<Header> {
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return (bytes.len() < LINE_BYTES_MAX).then_some(Header::Partial);
    };
    let line = std::str::from_utf8(&bytes[..end]).ok()?.strip_suffix('\r')?;
    let words: Vec<&str> = line.split(' ').collect();
    let addresses = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                (ip.is_ipv4() == (*family == "TCP4")).then_some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
            };
            Some(Addresses { source: address(source, from)?, destination: address(destination, to)? })
        }
        _ => return None,
    };
    Some(Header::Whole(end + 1, addresses))
}

fn version2(bytes: &[u8]) -> Option<Header> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else { return Some(Header::Partial) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if fixed[12] >> 4 != 2 || length > HEADER_BYTES_MAX {
        return None;
    }
    let Some(rest) = bytes.get(FIXED_BYTES..FIXED_BYTES + length) else { return Some(Header::Partial) };
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?));
    let addresses = match (fixed[12] & 0xf, fixed[13]) {
        // The balancer itself, asking whether we live.
        (0, _) => None,
        (1, 0x11) => {
            let ip = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*rest.get(at..)?.first_chunk::<4>()?)));
            Some((SocketAddr::new(ip(0)?, port(8)?), SocketAddr::new(ip(4)?, port(10)?)))
        }
        (1, 0x21) => {
            let ip =
                |at: usize| Some(IpAddr::from(Ipv6Addr::from(*rest.get(at..)?.first_chunk::<16>()?)).to_canonical());
            Some((SocketAddr::new(ip(0)?, port(32)?), SocketAddr::new(ip(16)?, port(34)?)))
        }
        (1, _) => None,
        _ => return None,
    };
    let addresses = addresses.map(|(source, destination)| Addresses { source, destination });
    Some(Header::Whole(FIXED_BYTES + length, addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let told = match parse(bytes) {
            None => "no".to_owned(),
            Some(Header::Partial) => "more".to_owned(),
            Some(Header::Whole(length, None)) => format!("{length}"),
            Some(Header::Whole(length, Some(told))) => format!("{length} {} {}", told.source, told.destination),
        };
        assert_eq!(told, expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    #[test]
    fn the_first_version_is_a_line() {
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\nGET /", "41 192.0.2.1:4000 192.0.2.2:443");
        check(b"PROXY TCP6 2001:db8::1 ::2 1 2\r\n", "32 [2001:db8::1]:1 [::2]:2");
        check(b"PROXY UNKNOWN\r\n", "15");
        check(b"PROXY TCP4 192.0.2", "more");
        check(b"PR", "more");
        check(b"GET / HTTP/1.1\r\n", "no");
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\n", "no");
        check(b"PROXY TCP4 ::1 ::2 1 2\r\n", "no");
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 99999\r\n", "no");
        check(b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "no");
        check(&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), "no");
    }

    #[test]
    fn the_second_version_is_bytes() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x0f, 0xa0, 1, 0xbb];
        check(&second(1, 0x11, &four), "28 192.0.2.1:4000 192.0.2.2:443");
        check(&second(1, 0x11, &[&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat()), "35 192.0.2.1:4000 192.0.2.2:443");
        let six = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        check(&second(1, 0x21, &six), "52 [::1]:1 [::2]:2");
        check(&second(0, 0, &[]), "16");
        check(&second(1, 0x31, &[0; 216]), "232");
        check(&second(1, 0x11, &four[..8]), "no");
        check(&second(2, 0x11, &four), "no");
        check(&second(1, 0x11, &four)[..20], "more");
        check(&SIGNATURE[..5], "more");
        check(&[&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(), "no");
    }
}
