//! What becomes of header fields on their way through.
//!
//! Fields that speak of one connection end with it, in both directions. Fields that say where a request comes from are
//! written here and nowhere before: what a client claims about itself is dropped.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields that speak of one connection (RFC 9110 section 7.6.1), and those that time has added.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The client's address.
    pub(crate) peer: IpAddr,
    /// The port it came to.
    pub(crate) port: u16,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Drops what speaks of the connection, and what it calls so itself.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client cannot have a field dropped that decides whom it speaks to or where its body ends.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    // The one thing `TE` may say end to end: that trailers are welcome.
    let takes_trailers = headers.get_all(header::TE).iter().any(|value| value.as_bytes() == b"trailers");
    headers.remove(header::TE);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Says where the request comes from, instead of what it claims.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, origin: &Origin, host: &HeaderValue) {
    let text = |text: String| HeaderValue::try_from(text).expect("addresses and numbers are header values");
    let peer = text(origin.peer.to_string());
    headers.remove(header::FORWARDED);
    headers.insert(FORWARDED_FOR, peer.clone());
    headers.insert(REAL_IP, peer);
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PORT, text(origin.port.to_string()));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(origin.scheme));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines.split("; ").filter_map(|line| line.split_once(": ")) {
            headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        left.sort_unstable();
        assert_eq!(left.join("; "), expected, "{lines}");
    }

    #[test]
    fn what_speaks_of_the_connection_ends_with_it() {
        check("accept: a; connection: close", "accept: a");
        check("connection: keep-alive, x-mine; keep-alive: 5; x-mine: 1; x-yours: 2", "x-yours: 2");
        check("upgrade: websocket; connection: upgrade; transfer-encoding: chunked", "");
        check("te: trailers; connection: te", "");
        check("te: trailers", "te: trailers");
        check("te: gzip", "");
    }

    #[test]
    fn a_client_cannot_have_the_host_dropped() {
        check("connection: host, content-length; host: a; content-length: 3", "content-length: 3; host: a");
    }

    #[test]
    fn what_a_client_claims_of_itself_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("10.0.0.2"));
        headers.insert(header::FORWARDED, HeaderValue::from_static("for=10.0.0.1"));
        let origin = Origin { peer: [192, 0, 2, 1].into(), port: 8443, scheme: "https" };
        set_forwarded(&mut headers, &origin, &HeaderValue::from_static("shop.example:8443"));
        let told: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        assert_eq!(told, ["192.0.2.1"]);
        assert_eq!(headers[FORWARDED_PROTO], "https");
        assert_eq!(headers[FORWARDED_PORT], "8443");
        assert_eq!(headers[FORWARDED_HOST], "shop.example:8443");
        assert!(!headers.contains_key(header::FORWARDED));
    }
}
