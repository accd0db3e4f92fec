//! Names a guest asks for.

use std::net::{IpAddr, Ipv6Addr};

use url::Host;

use super::Sockets;
use super::failure::Refusal;
use crate::network::{NetworkError, Resolving};

/// The longest name there is in DNS, without the root's dot.
const NAME_BYTES_MAX: usize = 253;

/// What the text of a name is.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// An address: nobody is asked.
    Address(IpAddr),
    /// A name in ASCII.
    Domain(String),
}

/// Starts a look-up, unless the text is no name at all.
pub(crate) fn resolve(sockets: &Sockets, text: &str) -> Result<Resolving, Refusal> {
    let resolving = match parse(text)? {
        Name::Address(ip) => return Ok(Box::pin(async move { Ok(vec![ip]) })),
        Name::Domain(name) => sockets.network.resolve(name),
    };
    Ok(Box::pin(async move { some(resolving.await?) }))
}

/// An answer has at least one address, and no IPv4 address dressed as another.
fn some(addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, NetworkError> {
    if addresses.is_empty() {
        return Err(NetworkError::NoSuchName);
    }
    Ok(addresses.into_iter().map(|ip| ip.to_canonical()).collect())
}

/// Names in other scripts become ASCII, addresses are known in all their spellings.
fn parse(text: &str) -> Result<Name, Refusal> {
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Ok(Name::Address(IpAddr::V6(ip).to_canonical()));
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) if name.trim_end_matches('.').len() <= NAME_BYTES_MAX => Ok(Name::Domain(name)),
        Ok(Host::Ipv4(ip)) => Ok(Name::Address(ip.into())),
        Ok(Host::Ipv6(ip)) => Ok(Name::Address(IpAddr::V6(ip).to_canonical())),
        Ok(Host::Domain(_)) | Err(_) => Err(Refusal::InvalidArgument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match parse(text) {
            Ok(Name::Address(ip)) => format!("address {ip}"),
            Ok(Name::Domain(name)) => name,
            Err(refusal) => format!("{refusal:?}"),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_name_is_a_domain_or_an_address() {
        check("kv.default.svc.cluster.local.", "kv.default.svc.cluster.local.");
        check("KV", "kv");
        check("_kv._tcp.default", "_kv._tcp.default");
        check("bücher.example", "xn--bcher-kva.example");
        check("10.43.0.1", "address 10.43.0.1");
        check("0x7f.1", "address 127.0.0.1");
        check("::1", "address ::1");
        check("[fd00::1]", "address fd00::1");
        check("::ffff:127.0.0.1", "address 127.0.0.1");
        for wrong in ["", "a b", "a..b/c", "1.2.3.4.5", "256.256.256.256", "[::1", "a:80"] {
            check(wrong, "InvalidArgument");
        }
        check(&"a".repeat(254), "InvalidArgument");
    }
}
