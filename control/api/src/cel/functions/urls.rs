//! URLs, read as Go's `url.ParseRequestURI` reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, List, Map, Opaque, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::{Key, Value};

const URL: crate::cel::signature::Kind = Opaque("kubernetes.URL");

pub(crate) static TABLE: &[Overload] = &[
    function("url", &[String], URL, url),
    function("isURL", &[String], Bool, is_url),
    member("getScheme", &[URL], String, scheme),
    member("getHost", &[URL], String, host),
    member("getHostname", &[URL], String, hostname),
    member("getPort", &[URL], String, port),
    member("getEscapedPath", &[URL], String, path),
    member("getQuery", &[URL], Map(&String, &List(&String)), query),
];

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: std::string::String,
    host: std::string::String,
    path: std::string::String,
    query: std::string::String,
}

// === impl Url ===

impl Url {
    /// An absolute URL, or an absolute path.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("empty url");
        }
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL");
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            Some(("", _)) => return Err("missing protocol scheme"),
            _ => (std::string::String::new(), text),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            return if scheme.is_empty() {
                Err("invalid URI for request")
            } else {
                // Opaque: it has no host and no path.
                Ok(Self {
                    scheme,
                    host: std::string::String::new(),
                    path: std::string::String::new(),
                    query: query.into(),
                })
            };
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
                let end = rest.find('/').unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            _ => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let host = checked_host(host)?;
        if !has_good_escapes(path) {
            return Err("invalid URL escape");
        }
        Ok(Self { scheme, host, path: path.into(), query: query.into() })
    }

    fn hostname_and_port(&self) -> (&str, &str) {
        if let Some(rest) = self.host.strip_prefix('[') {
            let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
            return (name, after.strip_prefix(':').unwrap_or_default());
        }
        self.host.split_once(':').unwrap_or((&self.host, ""))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
}

fn checked_host(host: &str) -> Result<std::string::String, &'static str> {
    if host.contains(' ') || host.contains(['<', '>', '"', '^', '`', '{', '|', '}', '\\']) {
        return Err("invalid character in host name");
    }
    let port = if let Some(rest) = host.strip_prefix('[') {
        rest.split_once(']').ok_or("missing ']' in host")?.1
    } else {
        host.find(':').map_or("", |at| &host[at..])
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(|port| port.bytes().all(|c| c.is_ascii_digit())) {
        return Err("invalid port after host");
    }
    if !has_good_escapes(host) {
        return Err("invalid URL escape");
    }
    Ok(host.into())
}

fn has_good_escapes(text: &str) -> bool {
    text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// What a query's text says; a plus is a blank.
fn unescaped(text: &str) -> Option<std::string::String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push((high * 16 + low) as u8);
            }
            byte => out.push(byte),
        }
    }
    Some(std::string::String::from_utf8_lossy(&out).into_owned())
}

fn parsed<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Result<Result<Url, &'static str>, Fault> {
    let text = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    Ok(Url::parse(text))
}

fn url<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = given[0].as_str().unwrap_or_default();
    let parsed = parsed(machine, given)?;
    parsed
        .map(|url| Value::Url(Arc::new(url)))
        .map_err(|why| Fault::error(format!("URL parse error during conversion from string: parse {text:?}: {why}")))
}

fn is_url<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(parsed(machine, given)?.is_ok()))
}

fn told<'a>(given: &[Value<'a>], part: impl Fn(&Url) -> &str) -> Answer<'a> {
    match given {
        [Value::Url(url)] => Ok(Value::text(part(url))),
        _ => Err(Fault::no_overload()),
    }
}

fn scheme<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    told(given, |url| &url.scheme)
}

fn host<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    told(given, |url| &url.host)
}

fn hostname<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    told(given, |url| url.hostname_and_port().0)
}

fn port<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    told(given, |url| url.hostname_and_port().1)
}

fn path<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    told(given, |url| &url.path)
}

fn query<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let [Value::Url(url)] = given else { return Err(Fault::no_overload()) };
    machine.spend_bytes(url.query.len())?;
    let mut found: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        machine.spend(1)?;
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(name), Some(value)) = (unescaped(name), unescaped(value)) {
            found.entry(Key::String(name.into())).or_default().push(Value::text(value));
        }
    }
    Ok(Value::Map(Arc::new(found.into_iter().map(|(name, values)| (name, Value::list(values))).collect())))
}
