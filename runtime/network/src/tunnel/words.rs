//! The words of the tunnel: what its headers say.
//!
//! Both ends set them last and take them off first, so nothing that a pod writes in its own headers is ever read as one.

use std::fmt::{self, Display};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Origin;

/// What a stream of the tunnel carries.
pub(super) static KIND: HeaderName = HeaderName::from_static("coracle-kind");
/// Which node is meant, for those in between.
pub(super) static NODE: HeaderName = HeaderName::from_static("coracle-node");
/// Which node asked, where the server passes it on.
pub(super) static ASKER: HeaderName = HeaderName::from_static("coracle-asker");
/// Which pod is meant, as `address:port`.
pub(super) static TO: HeaderName = HeaderName::from_static("coracle-to");
/// Who asks.
pub(super) static ORIGIN: HeaderName = HeaderName::from_static("coracle-origin");
/// How many pods the request has come through.
pub(super) static HOPS: HeaderName = HeaderName::from_static("coracle-hops");
/// Which content is asked for.
pub(super) static DIGEST: HeaderName = HeaderName::from_static("coracle-digest");
/// Why there is no answer: a word, sometimes a number.
pub(super) static FAULT: HeaderName = HeaderName::from_static("coracle-fault");

const ALL: [&HeaderName; 8] = [&KIND, &NODE, &ASKER, &TO, &ORIGIN, &HOPS, &DIGEST, &FAULT];

/// What a stream of the tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Stream,
    Datagrams,
    Content,
}

/// A word that is none of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} cannot be read")]
pub(super) struct Unreadable(pub(super) &'static str);

/// Sets a header that a type of ours is written as.
pub(super) fn set(headers: &mut HeaderMap, name: &HeaderName, value: &impl Display) {
    // Names, addresses and numbers are all that is written, and each is made of visible letters.
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        headers.insert(name, value);
    }
}

/// Reads a header, which has to be there once.
pub(super) fn get<T: FromStr>(headers: &HeaderMap, name: &'static HeaderName) -> Result<T, Unreadable> {
    let unreadable = || Unreadable(name.as_str());
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(unreadable),
        _ => Err(unreadable()),
    }
}

/// Takes all our words off a message.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in ALL {
        headers.remove(name);
    }
}

/// How an origin is written.
pub(super) struct Written<'a>(pub(super) &'a Origin);

/// An origin that was written.
pub(super) struct Read(pub(super) Origin);

// === impl Kind ===

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Stream => "stream",
            Self::Datagrams => "datagrams",
            Self::Content => "content",
        })
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "request" => Ok(Self::Request),
            "stream" => Ok(Self::Stream),
            "datagrams" => Ok(Self::Datagrams),
            "content" => Ok(Self::Content),
            _ => Err(()),
        }
    }
}

// === impl Written ===

impl Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Origin::Pod { namespace, name, address } => write!(f, "pod {namespace} {name} {address}"),
            Origin::Ingress => f.write_str("ingress"),
            Origin::Node(name) => write!(f, "node {name}"),
            Origin::Outside(address) => write!(f, "outside {address}"),
        }
    }
}

// === impl Read ===

impl FromStr for Read {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let address = |text: &str| text.parse().map_err(|_| ());
        Ok(Self(match words.as_slice() {
            ["pod", namespace, name, ip] if !namespace.is_empty() && !name.is_empty() => {
                Origin::pod(*namespace, *name, ip.parse().map_err(|_| ())?)
            }
            ["ingress"] => Origin::Ingress,
            ["node", name] if !name.is_empty() => Origin::Node((*name).into()),
            ["outside", from] => Origin::Outside(address(from)?),
            _ => return Err(()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_read_as_it_was_written() {
        let address = |text: &str| text.parse().expect("an address");
        for origin in [
            Origin::pod("shop", "web-0", "10.42.0.2".parse().expect("an address")),
            Origin::pod("shop", "web-0", "fd00::2".parse().expect("an address")),
            Origin::Ingress,
            Origin::Node("edge-1.local".into()),
            Origin::Outside(address("[2001:db8::1]:4000")),
        ] {
            let text = Written(&origin).to_string();
            assert_eq!(text.parse::<Read>().map(|read| read.0), Ok(origin), "{text}");
        }
        for wrong in ["", "pod", "pod shop web", "pod shop web 10.42.0", "pod  web 10.42.0.2", "node ", "ingress x"] {
            assert!(wrong.parse::<Read>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_word_is_there_once_or_not_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(get::<Kind>(&headers, &KIND), Err(Unreadable("coracle-kind")));
        set(&mut headers, &KIND, &Kind::Stream);
        assert_eq!(get(&headers, &KIND), Ok(Kind::Stream));
        headers.append(&KIND, HeaderValue::from_static("request"));
        assert_eq!(get::<Kind>(&headers, &KIND), Err(Unreadable("coracle-kind")));
        strip(&mut headers);
        assert!(headers.is_empty());
    }
}
