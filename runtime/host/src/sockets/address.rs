//! Which addresses a guest may name at all.
//!
//! An IPv6 socket speaks IPv6 only: an IPv4 address in an IPv6 one would be a second name for the same place, and a
//! way around whoever judges by address. Both such forms are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::failure::Refusal;

/// The family of a socket, fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

// === impl Family ===

impl Family {
    /// Every address of the family, and any port.
    pub(crate) fn anywhere(self) -> SocketAddr {
        let ip = match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(ip, 0)
    }

    /// An address to bind a stream socket to.
    pub(crate) fn local_stream(self, address: SocketAddr) -> Result<SocketAddr, Refusal> {
        self.check(address, is_unicast(address.ip()))
    }

    /// An address to bind a datagram socket to.
    pub(crate) fn local_datagram(self, address: SocketAddr) -> Result<SocketAddr, Refusal> {
        self.check(address, true)
    }

    /// An address to connect to.
    pub(crate) fn remote_stream(self, address: SocketAddr) -> Result<SocketAddr, Refusal> {
        self.check(address, is_somewhere(address) && is_unicast(address.ip()))
    }

    /// An address to send datagrams to.
    pub(crate) fn remote_datagram(self, address: SocketAddr) -> Result<SocketAddr, Refusal> {
        self.check(address, is_somewhere(address))
    }

    fn check(self, address: SocketAddr, suits: bool) -> Result<SocketAddr, Refusal> {
        let is_of_family = match (self, address.ip()) {
            (Family::V4, IpAddr::V4(_)) => true,
            (Family::V6, IpAddr::V6(ip)) => !holds_v4(ip),
            _ => false,
        };
        if is_of_family && suits { Ok(address) } else { Err(Refusal::InvalidArgument) }
    }
}

fn is_somewhere(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast(),
    }
}

/// Mapped (`::ffff:1.2.3.4`) or compatible (`::1.2.3.4`, long deprecated).
fn holds_v4(ip: Ipv6Addr) -> bool {
    let is_compatible =
        matches!(ip.segments(), [0, 0, 0, 0, 0, 0, _, _]) && ip != Ipv6Addr::UNSPECIFIED && ip != Ipv6Addr::LOCALHOST;
    is_compatible || ip.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TEXT` is fine for: `b`ind, `c`onnect, bind for `d`atagrams, `s`end datagrams to.
    fn check(family: Family, text: &str, expected: &str) {
        let address: SocketAddr = text.parse().expect("an address");
        let uses = [
            ('b', family.local_stream(address)),
            ('c', family.remote_stream(address)),
            ('d', family.local_datagram(address)),
            ('s', family.remote_datagram(address)),
        ];
        let fine: String = uses.iter().filter(|(_, result)| result.is_ok()).map(|(letter, _)| letter).collect();
        assert_eq!(fine, expected, "{text}");
        assert!(uses.iter().all(|(_, result)| result.as_ref().is_ok_or_refused(address)));
    }

    trait OkOrRefused {
        fn is_ok_or_refused(&self, address: SocketAddr) -> bool;
    }

    impl OkOrRefused for Result<&SocketAddr, &Refusal> {
        fn is_ok_or_refused(&self, address: SocketAddr) -> bool {
            matches!(self, Ok(same) if **same == address) || matches!(self, Err(Refusal::InvalidArgument))
        }
    }

    #[test]
    fn addresses_are_of_the_sockets_family_and_mean_one_place() {
        check(Family::V4, "10.42.0.7:80", "bcds");
        check(Family::V4, "127.0.0.1:80", "bcds");
        check(Family::V4, "0.0.0.0:80", "bd");
        check(Family::V4, "10.42.0.7:0", "bd");
        check(Family::V4, "224.0.0.1:80", "ds");
        check(Family::V4, "255.255.255.255:80", "ds");
        check(Family::V4, "[::1]:80", "");
        check(Family::V6, "127.0.0.1:80", "");
        check(Family::V6, "[::1]:80", "bcds");
        check(Family::V6, "[fd00::7]:80", "bcds");
        check(Family::V6, "[::]:80", "bd");
        check(Family::V6, "[ff02::1]:80", "ds");
        check(Family::V6, "[::ffff:127.0.0.1]:80", "");
        check(Family::V6, "[::ffff:0.0.0.0]:80", "");
        check(Family::V6, "[::127.0.0.1]:80", "");
        check(Family::V6, "[::ffff:224.0.0.1]:80", "");
    }
}
