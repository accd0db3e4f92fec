//! What becomes of header fields on their way through.
//!
//! Fields that speak of one connection end with it, in both directions. Fields that say where a request comes from are
//! written here: what a client claims about itself is dropped, unless it is a proxy that the operator trusts; then its word
//! is carried on and added to.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

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

/// Fields that a client cannot have dropped by calling them the connection's own: they decide whom it speaks to, where its
/// body ends, and who it is.
const KEPT: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PORT,
    FORWARDED_PROTO,
    header::FORWARDED,
];

/// How a connection came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The other side's address.
    pub(crate) peer: IpAddr,
    /// Whether its word about others is taken.
    pub(crate) is_trusted: bool,
    /// The port it came to.
    pub(crate) port: u16,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Where a request comes from, once a trusted proxy's word is taken for it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The client.
    pub(crate) client: IpAddr,
    /// Whether the client spoke TLS, here or to the proxy in front.
    pub(crate) is_secure: bool,
    chain: HeaderValue,
    host: HeaderValue,
    port: HeaderValue,
    forwarded: Option<HeaderValue>,
}

/// Drops what speaks of the connection, and what it calls so itself.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    // The one thing `TE` may say end to end: that trailers are welcome.
    let takes_trailers = headers.get_all(header::TE).iter().any(|value| value.as_bytes() == b"trailers");
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(header::TE);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

// === impl Source ===

impl Source {
    /// Where a request to `host` comes from. `forwarded` asks for the standard's field too (RFC 7239).
    pub(crate) fn of(
        headers: &HeaderMap,
        origin: &Origin,
        host: &HeaderValue,
        trusted: &[IpNet],
        forwarded: bool,
    ) -> Self {
        let told = |name: &HeaderName| headers.get(name).filter(|_| origin.is_trusted);
        let chain: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter(|_| origin.is_trusted)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        // Read from here outwards: the first who is not a trusted proxy is the client, whatever stands before it.
        let hops = chain.iter().rev().map_while(|word| word.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
        let mut client = origin.peer;
        for hop in hops {
            client = hop;
            if !trusted.iter().any(|net| net.contains(&hop)) {
                break;
            }
        }
        let scheme = match told(&FORWARDED_PROTO).map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            Some(b"http") => "http",
            _ => origin.scheme,
        };
        let port = told(&FORWARDED_PORT).and_then(|port| port.to_str().ok()?.parse::<u16>().ok());
        let peer = origin.peer.to_string();
        let words = chain.into_iter().chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
        let host = told(&FORWARDED_HOST).unwrap_or(host).clone();
        let standard = || {
            let own = format!("for={};host={};proto={scheme}", node(origin.peer), quoted(&host)?);
            let before = told(&header::FORWARDED).and_then(|value| value.to_str().ok());
            text(before.map_or_else(|| own.clone(), |before| format!("{before}, {own}")))
        };
        Self {
            client,
            is_secure: scheme == "https",
            chain: text(words).unwrap_or_else(|| HeaderValue::from_static("unknown")),
            port: port.unwrap_or(origin.port).into(),
            forwarded: forwarded.then(standard).flatten(),
            host,
        }
    }

    /// Says so, instead of what the request claims.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        headers.remove(header::FORWARDED);
        if let Some(forwarded) = self.forwarded {
            headers.insert(header::FORWARDED, forwarded);
        }
        headers.insert(FORWARDED_FOR, self.chain);
        if let Some(client) = text(self.client.to_string()) {
            headers.insert(REAL_IP, client);
        }
        headers.insert(FORWARDED_HOST, self.host);
        headers.insert(FORWARDED_PORT, self.port);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if self.is_secure { "https" } else { "http" }));
    }
}

fn text(text: String) -> Option<HeaderValue> {
    HeaderValue::try_from(text).ok()
}

/// An address in the words of RFC 7239.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

fn quoted(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok().filter(|text| !text.contains(['"', '\\']))?;
    Some(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines.split(" | ").filter_map(|line| line.split_once(": ")) {
            headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> String {
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        left.sort_unstable();
        left.join(" | ")
    }

    fn check(given: &str, expected: &str) {
        let mut headers = headers(given);
        strip_hop_by_hop(&mut headers);
        assert_eq!(lines(&headers), expected, "{given}");
    }

    /// What a request says of its source that comes from `peer`, while 10.0.0.0/8 is trusted.
    fn tells(peer: &str, given: &str, expected: &str) {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let peer: IpAddr = peer.parse().expect("an address");
        let is_trusted = trusted.iter().any(|net: &IpNet| net.contains(&peer));
        let origin = Origin { peer, is_trusted, port: 8443, scheme: "http" };
        let mut headers = headers(given);
        let host = HeaderValue::from_static("a.example");
        Source::of(&headers, &origin, &host, &trusted, headers.contains_key("want")).tell(&mut headers);
        headers.remove("want");
        assert_eq!(lines(&headers), expected, "{peer} {given}");
    }

    #[test]
    fn what_speaks_of_the_connection_ends_with_it() {
        check("accept: a | connection: close", "accept: a");
        check("connection: keep-alive, x-mine | keep-alive: 5 | x-mine: 1 | x-yours: 2", "x-yours: 2");
        check("upgrade: websocket | connection: upgrade | transfer-encoding: chunked", "");
        check("te: trailers | connection: te", "te: trailers");
        check("te: trailers", "te: trailers");
        check("te: gzip", "");
    }

    #[test]
    fn a_client_cannot_have_dropped_what_says_who_it_is() {
        check("connection: host, content-length | host: a | content-length: 3", "content-length: 3 | host: a");
        check("connection: x-forwarded-for | x-forwarded-for: 1.2.3.4", "x-forwarded-for: 1.2.3.4");
    }

    #[test]
    fn what_a_client_claims_of_itself_is_replaced() {
        tells(
            "192.0.2.1",
            "x-forwarded-for: 10.0.0.1 | x-forwarded-for: 10.0.0.2 | x-forwarded-proto: https | forwarded: for=10.0.0.1",
            "x-forwarded-for: 192.0.2.1 | x-forwarded-host: a.example | x-forwarded-port: 8443 | x-forwarded-proto: http | x-real-ip: 192.0.2.1",
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        tells(
            "10.0.0.9",
            "x-forwarded-for: 6.6.6.6, 192.0.2.7 | x-forwarded-for: 10.0.0.5 | x-forwarded-proto: https | x-forwarded-port: 443 | x-forwarded-host: b.example",
            "x-forwarded-for: 6.6.6.6, 192.0.2.7, 10.0.0.5, 10.0.0.9 | x-forwarded-host: b.example | x-forwarded-port: 443 | x-forwarded-proto: https | x-real-ip: 192.0.2.7",
        );
        tells(
            "10.0.0.9",
            "x-forwarded-for: nonsense, 10.0.0.5 | x-forwarded-proto: gopher | x-forwarded-port: 99999",
            "x-forwarded-for: nonsense, 10.0.0.5, 10.0.0.9 | x-forwarded-host: a.example | x-forwarded-port: 8443 | x-forwarded-proto: http | x-real-ip: 10.0.0.5",
        );
    }

    #[test]
    fn the_standards_own_field_is_written_on_request() {
        let rest = "x-forwarded-for: 2001:db8::1 | x-forwarded-host: a.example | x-forwarded-port: 8443 | x-forwarded-proto: http | x-real-ip: 2001:db8::1";
        tells(
            "2001:db8::1",
            "want: 1",
            &format!("forwarded: for=\"[2001:db8::1]\";host=\"a.example\";proto=http | {rest}"),
        );
        let rest = "x-forwarded-for: 10.0.0.9 | x-forwarded-host: a.example | x-forwarded-port: 8443 | x-forwarded-proto: http | x-real-ip: 10.0.0.9";
        tells(
            "10.0.0.9",
            "want: 1 | forwarded: for=192.0.2.7",
            &format!("forwarded: for=192.0.2.7, for=10.0.0.9;host=\"a.example\";proto=http | {rest}"),
        );
    }
}
