//! Which host a request is for.

use http::uri::Authority;
use http::{HeaderValue, header};

use super::{Refusal, bad_request};

/// The host a request is for, once that is beyond doubt.
pub(super) struct Host {
    /// As the client wrote it.
    pub(super) field: HeaderValue,
    pub(super) authority: Authority,
    /// Lower case, without a port.
    pub(super) name: String,
}

// === impl Host ===

impl Host {
    /// Reads the host of a request. Two that differ, or none, are an attack or a mistake; neither is worth a guess.
    pub(super) fn of<B>(request: &http::Request<B>) -> Result<Self, Refusal> {
        let mut fields = request.headers().get_all(header::HOST).iter();
        let field = match (fields.next(), fields.next()) {
            (_, Some(_)) => return Err(bad_request("the request has more than one host")),
            (field, None) => field,
        };
        let field = match (field, request.uri().authority()) {
            (Some(field), Some(authority)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(field.as_bytes()) => {
                return Err(bad_request("the request names two hosts"));
            }
            (Some(field), _) => field.clone(),
            (None, Some(authority)) => HeaderValue::from_str(authority.as_str())
                .map_err(|_| bad_request("the request's host cannot be read"))?,
            (None, None) => return Err(bad_request("the request has no host")),
        };
        let authority =
            Authority::try_from(field.as_bytes()).ok().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| bad_request("the request's host cannot be read"))?;
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { field, authority, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host of a request: `target | host | host…`.
    fn check(line: &str, expected: &str) {
        let mut parts = line.split(" | ");
        let mut request = http::Request::get(parts.next().expect("a target")).body(()).expect("a request");
        for host in parts {
            request.headers_mut().append(header::HOST, host.parse().expect("a value"));
        }
        let told = match Host::of(&request) {
            Ok(host) => host.name,
            Err(refusal) => refusal.words,
        };
        assert_eq!(told, expected, "{line}");
    }

    #[test]
    fn there_is_one_host() {
        check("/ | shop.example", "shop.example");
        check("/ | SHOP.example.:8080", "shop.example");
        check("/ | [::1]:80", "[::1]");
        check("http://shop.example/", "shop.example");
        check("http://shop.example/ | shop.example", "shop.example");
    }

    #[test]
    fn none_or_two_are_refused() {
        check("/", "the request has no host");
        check("/ | a.example | a.example", "the request has more than one host");
        check("http://a.example/ | b.example", "the request names two hosts");
        check("/ | a@b.example", "the request's host cannot be read");
        check("/ | a b", "the request's host cannot be read");
        check("/ | ", "the request's host cannot be read");
        check("/ | a/b", "the request's host cannot be read");
    }
}
