//! The formats of texts that are checked; of any other every text is.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;

/// Whether `text` has the format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    // Kubernetes takes `date-time` and `datetime` alike, and any format so.
    match format.replace('-', "").as_str() {
        "datetime" => text.parse::<Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<Date>().is_ok(),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.contains('/') && text.parse::<IpNet>().is_ok(),
        "mac" => is_mac(text),
        "hostname" => is_host(text),
        "email" => is_email(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "byte" => BASE64.decode(text).is_ok(),
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "hexcolor" => text.strip_prefix('#').is_some_and(|digits| matches!(digits.len(), 3 | 6) && is_hex(digits)),
        "ssn" => is_grouped(text, &[3, 2, 4]),
        "isbn" => is_isbn(text, 10) || is_isbn(text, 13),
        "isbn10" => is_isbn(text, 10),
        "isbn13" => is_isbn(text, 13),
        "creditcard" => is_credit_card(text),
        _ => true,
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As Go writes them (`1h30m`), or with the words that people use (`3 days`).
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 29] = [
        "ns",
        "us",
        "µs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "nano",
        "nanos",
        "nanosecond",
        "nanoseconds",
        "micro",
        "micros",
        "milli",
        "millis",
        "sec",
        "secs",
        "second",
        "seconds",
        "min",
        "mins",
        "minute",
        "minutes",
        "hour",
        "hours",
        "day",
        "days",
    ];
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - after.len()];
        let unit_at = after.trim_start_matches(' ');
        let more = unit_at.trim_start_matches(char::is_alphabetic);
        let unit = &unit_at[..unit_at.len() - more.len()];
        if number.parse::<f64>().is_err() || !(UNITS.contains(&unit) || matches!(unit, "week" | "weeks" | "hr" | "hrs"))
        {
            return false;
        }
        parts += 1;
        rest = more.trim_start_matches(' ');
    }
    parts > 0
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains(':') { ':' } else { '-' };
    let groups: Vec<&str> = text.split(separator).collect();
    matches!(groups.len(), 6 | 8 | 20) && groups.iter().all(|group| group.len() == 2 && is_hex(group))
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    !local.is_empty() && local.chars().all(allowed) && is_host(domain)
}

/// A URI as a request may name it: with a scheme, or a path from the root.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    text.starts_with('/') || text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let shape = text.split('-').map(str::len).collect::<Vec<_>>();
    let has_shape = matches!(shape.as_slice(), [8, 4, 4, 4, 12] | [32]);
    let variant = |c: char| matches!(c.to_ascii_lowercase(), '8' | '9' | 'a' | 'b');
    has_shape
        && is_hex(&digits)
        && version.is_none_or(|version| digits.chars().nth(12) == Some(version))
        && (matches!(version, None | Some('3')) || digits.chars().nth(16).is_some_and(variant))
}

fn is_grouped(text: &str, lengths: &[usize]) -> bool {
    let groups: Vec<&str> = text.split(['-', ' ']).collect();
    groups.len() == lengths.len()
        && groups
            .iter()
            .zip(lengths)
            .all(|(group, length)| group.len() == *length && group.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_isbn(text: &str, length: usize) -> bool {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| if c == 'X' { 10 } else { c.to_digit(10).unwrap_or(11) })
        .collect();
    if digits.len() != length || digits.contains(&11) || digits[..length - 1].contains(&10) {
        return false;
    }
    let weighed = |weight: fn(u32) -> u32| (0..).zip(&digits).map(|(at, digit)| weight(at) * digit).sum::<u32>();
    if length == 10 { weighed(|at| 10 - at) % 11 == 0 } else { weighed(|at| 1 + 2 * (at % 2)) % 10 == 0 }
}

fn is_credit_card(text: &str) -> bool {
    let digits: Option<Vec<u32>> = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| (13..=19).contains(&digits.len())) else { return false };
    let doubled = |at: usize, digit: u32| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit };
    digits.iter().rev().enumerate().map(|(at, digit)| doubled(at, *digit)).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(fits(format, text), "{text:?} is a {format}");
        }
        for text in bad {
            assert!(!fits(format, text), "{text:?} is no {format}");
        }
    }

    #[test]
    fn formats_are_what_they_are_called() {
        check("date-time", &["2026-11-21T05:13:14Z", "2026-11-21T05:13:14.5+02:00"], &["2026-11-21", "now"]);
        check("date", &["2026-11-21"], &["2026-13-01", "x"]);
        check("duration", &["1h30m", "250ms", "0", "3 days"], &["", "1", "h", "1x"]);
        check("ipv4", &["10.0.0.1"], &["10.0.0", "::1"]);
        check("cidr", &["10.0.0.0/8", "fd00::/8"], &["10.0.0.1", "10.0.0.0/33"]);
        check("mac", &["00:1a:2B:3c:4d:5e"], &["00:1a:2b", "zz:1a:2b:3c:4d:5e"]);
        check("hostname", &["example.com"], &["-a", "a b"]);
        check("email", &["a.b+c@example.com"], &["a", "@b"]);
        check("uri", &["https://example.com/x", "/path", "urn:a:b"], &["", "relative", "ht tp://x"]);
        check("uuid", &["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], &["6ba7b810"]);
        check("uuid4", &["f47ac10b-58cc-4372-a567-0e02b2c3d479"], &["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]);
        check("byte", &["aGVsbG8="], &["%"]);
        check("isbn", &["0-306-40615-2", "978-0-306-40615-7"], &["0-306-40615-3"]);
        check("creditcard", &["4111 1111 1111 1111"], &["4111 1111 1111 1112"]);
        check("anything-else", &["", "x"], &[]);
    }
}
