//! What an Ingress asks of the edge beyond its rules, by annotations.
//!
//! | annotation | value | meaning |
//! |---|---|---|
//! | `coracle.dev/request-timeout` | a duration such as `30s`, `1m30s`, `500ms` | how long the head of an answer may take |
//! | `coracle.dev/idle-timeout` | a duration | how long a body, or a connection that has changed its protocol, may be silent |
//! | `coracle.dev/body-size-max` | a quantity such as `10Mi`; `0` lifts the limit | how large the body of a request may be |
//! | `coracle.dev/ssl-redirect` | `true`, `false` | whether a host that has a certificate sends `http` on to `https`; it does |
//! | `coracle.dev/acme` | `true`, `false`, `http-01`, `tls-alpn-01` | whether certificates for its `tls` entries come by ACME ([`acme`](crate::acme)), and how hosts are proved; `true` is `http-01` |
//! | `coracle.dev/hsts` | directives such as `max-age=31536000; includeSubDomains` | the `Strict-Transport-Security` of answers over TLS |
//!
//! A value that cannot be read counts as absent, and the Ingress is told so.

use std::collections::BTreeMap;
use std::time::Duration;

use api::quantity::Quantity;
use http::HeaderValue;

use crate::acme::Challenge;

const PREFIX: &str = "coracle.dev/";

/// What an Ingress asks of the edge. What it does not say is for the edge's own limits to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long the head of an answer may take.
    pub request_timeout: Option<Duration>,
    /// How long a body may be silent.
    pub idle_timeout: Option<Duration>,
    /// How large the body of a request may be, in bytes.
    pub body_size_max: Option<SizeMax>,
    /// Whether `http` is not to be sent on to `https`.
    pub stays_on_http: bool,
    /// What browsers are to remember of a host over TLS.
    pub hsts: Option<HeaderValue>,
    /// Whether certificates come by ACME.
    pub acme: Option<Acme>,
}

/// Whether certificates come by ACME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acme {
    /// They do not, whatever another annotation says.
    Off,
    /// They do, and hosts are proved in this way.
    By(Challenge),
}

/// How large a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeMax {
    /// As many bytes.
    Bytes(u64),
    /// As large as it likes.
    None,
}

// === impl Terms ===

impl Terms {
    /// Reads the annotations of an Ingress; also what about them cannot be understood.
    pub(crate) fn read(annotations: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let (mut terms, mut complaints) = (Self::default(), Vec::new());
        for (name, value) in annotations {
            let Some(short) = name.strip_prefix(PREFIX) else { continue };
            if let Err(wanted) = terms.take(short, value.trim()) {
                complaints.push(format!("metadata.annotations[{name}]: {value:?} is not {wanted}; it is ignored"));
            }
        }
        (terms, complaints)
    }

    /// Takes one annotation, or says what its value should have been.
    fn take(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "request-timeout" => self.request_timeout = Some(duration(value).ok_or(A_DURATION)?),
            "idle-timeout" => self.idle_timeout = Some(duration(value).ok_or(A_DURATION)?),
            "body-size-max" => self.body_size_max = Some(size(value).ok_or("a quantity of bytes such as 10Mi")?),
            "ssl-redirect" => self.stays_on_http = !flag(value)?,
            "acme" => self.acme = Some(acme(value)?),
            "hsts" => self.hsts = Some(hsts(value).ok_or("directives such as max-age=31536000; includeSubDomains")?),
            // Others may have words for an Ingress too.
            _ => {}
        }
        Ok(())
    }
}

const A_DURATION: &str = "a duration such as 30s or 1m30s";

fn flag(value: &str) -> Result<bool, &'static str> {
    value.parse().map_err(|_| "true or false")
}

fn acme(value: &str) -> Result<Acme, &'static str> {
    match value {
        "false" => Ok(Acme::Off),
        "true" | "http-01" => Ok(Acme::By(Challenge::Http01)),
        "tls-alpn-01" => Ok(Acme::By(Challenge::TlsAlpn01)),
        _ => Err("true, false, http-01 or tls-alpn-01"),
    }
}

/// Numbers with units, added up; never nothing, which would refuse everything.
fn duration(value: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (value, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = &after[..after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len())];
        let number: u32 = number.parse().ok()?;
        let one = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(60 * 60),
            _ => return None,
        };
        sum = sum.checked_add(one.checked_mul(number)?)?;
        rest = &after[unit.len()..];
    }
    Some(sum).filter(|sum| !sum.is_zero())
}

fn size(value: &str) -> Option<SizeMax> {
    let bytes = u64::try_from(value.parse::<Quantity>().ok()?.value()).ok()?;
    Some(if bytes == 0 { SizeMax::None } else { SizeMax::Bytes(bytes) })
}

fn hsts(value: &str) -> Option<HeaderValue> {
    let mut has_age = false;
    for directive in value.split(';').map(str::trim) {
        match directive.split_once('=') {
            Some((name, seconds)) if name.eq_ignore_ascii_case("max-age") && !has_age => {
                has_age = seconds.parse::<u64>().is_ok();
            }
            None if directive.eq_ignore_ascii_case("includeSubDomains")
                || directive.eq_ignore_ascii_case("preload") => {}
            _ => return None,
        }
    }
    HeaderValue::from_str(value).ok().filter(|_| has_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Terms, Vec<String>) {
        let pairs = line.split(" | ").filter_map(|pair| pair.split_once(": "));
        Terms::read(&pairs.map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned())).collect())
    }

    #[test]
    fn what_is_said_is_taken() {
        let (terms, complaints) = read(
            "request-timeout: 1m30s | idle-timeout: 500ms | body-size-max: 10Mi | ssl-redirect: false | hsts: max-age=10; preload | acme: tls-alpn-01",
        );
        assert_eq!(complaints, Vec::<String>::new());
        let expected = Terms {
            request_timeout: Some(Duration::from_secs(90)),
            idle_timeout: Some(Duration::from_millis(500)),
            body_size_max: Some(SizeMax::Bytes(10 << 20)),
            stays_on_http: true,
            hsts: Some(HeaderValue::from_static("max-age=10; preload")),
            acme: Some(Acme::By(Challenge::TlsAlpn01)),
        };
        assert_eq!(terms, expected);
        assert_eq!(read("body-size-max: 0").0.body_size_max, Some(SizeMax::None));
        assert_eq!(read("ssl-redirect: true | another: x"), (Terms::default(), Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_counts_as_absent() {
        for line in [
            "request-timeout: 30",
            "request-timeout: 0s",
            "request-timeout: s",
            "request-timeout: 1d",
            "request-timeout: -1s",
            "idle-timeout: 99999999999h",
            "body-size-max: much",
            "body-size-max: -1",
            "ssl-redirect: yes",
            "acme: dns-01",
            "acme: yes",
            "hsts: includeSubDomains",
            "hsts: max-age=x",
            "hsts: max-age=1; max-age=2",
            "hsts: max-age=1, x",
        ] {
            let (terms, complaints) = read(line);
            assert_eq!((terms, complaints.len()), (Terms::default(), 1), "{line}");
        }
        let told = &read("ssl-redirect: yes").1[0];
        assert_eq!(told, "metadata.annotations[coracle.dev/ssl-redirect]: \"yes\" is not true or false; it is ignored");
    }
}
