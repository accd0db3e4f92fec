//! What may be a key and a value of configuration, an address, a protocol.

use std::net::{IpAddr, Ipv4Addr};

use super::Causes;

/// The transport protocols of ports.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// All of one object's data together.
const DATA_BYTES_MAX: usize = 1024 * 1024;
/// The longest key.
const KEY_BYTES_MAX: usize = 253;

const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is wrong with a key of a ConfigMap or a Secret, in Kubernetes' words.
pub fn data_key(key: &str) -> Option<String> {
    if key.len() > KEY_BYTES_MAX {
        return Some(format!("must be no more than {KEY_BYTES_MAX} bytes"));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(inner) {
        return Some(KEY.into());
    }
    match key {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        key if key.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// The keys of `path`.
pub fn data_keys<'a>(path: &str, keys: impl Iterator<Item = &'a String>, causes: &mut Causes) {
    for key in keys {
        if let Some(problem) = data_key(key) {
            causes.invalid(format!("{path}[{key}]"), key, &problem);
        }
    }
}

/// The size of all values together.
pub fn data_size(path: &str, bytes: usize, causes: &mut Causes) {
    if bytes > DATA_BYTES_MAX {
        causes.too_long(path, DATA_BYTES_MAX);
    }
}

/// An address.
pub fn ip(path: &str, address: &str, causes: &mut Causes) {
    if address.parse::<IpAddr>().is_err() {
        causes.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// An IPv4 address.
pub fn ipv4(path: &str, address: &str, causes: &mut Causes) {
    if address.parse::<Ipv4Addr>().is_err() {
        causes.invalid(path, address, "must be an IPv4 address");
    }
}

/// An address that may stand behind a service: somebody's on the network, not the node's own nor the link's.
pub fn endpoint_ip(path: &str, address: &str, causes: &mut Causes) {
    let Ok(parsed) = address.parse::<IpAddr>() else {
        ip(path, address, causes);
        return;
    };
    let canonical = parsed.to_canonical();
    let (link_local, multicast) = match canonical {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] == 0xff02),
    };
    let problems = [
        (canonical.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (canonical.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (_, problem) in problems.iter().filter(|(is_so, _)| *is_so) {
        causes.invalid(path, address, problem);
    }
}

/// A range of addresses.
pub fn cidr(path: &str, range: &str, causes: &mut Causes) {
    if range.parse::<ipnet::IpNet>().is_err() {
        causes.invalid(path, range, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_somebody_on_the_network() {
        let problems = |address: &str| {
            let mut causes = Causes::default();
            endpoint_ip("ip", address, &mut causes);
            causes.into_inner().len()
        };
        for good in ["10.42.0.2", "192.168.1.9", "203.0.113.7", "2001:db8::1"] {
            assert_eq!(problems(good), 0, "{good}");
        }
        for bad in [
            "",
            "a",
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "0x7f.1",
            "2130706433",
            "127.1",
        ] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }

    #[test]
    fn keys_are_file_names() {
        for good in ["a", "A_b-c.d", ".dockerconfigjson"] {
            assert_eq!(data_key(good), None);
        }
        for bad in ["", "a/b", ".", "..", "..a", "a b"] {
            assert!(data_key(bad).is_some(), "{bad}");
        }
    }
}
