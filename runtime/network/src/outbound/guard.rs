//! Which real addresses a pod may reach.
//!
//! The question is asked of addresses, never of names, and of the very address that is then connected to: a name that
//! resolves to something else a moment later changes nothing. An address that carries an IPv4 address inside is judged as
//! that address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;

use crate::Latest;

/// What pods may reach outside the cluster. By default all but the node itself, whatever its address, its link, and the
/// addresses at which clouds hand out credentials.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// Reachable although forbidden by rule; for what an administrator opens.
    pub allowed: Vec<IpNet>,
    /// Not reachable on any port.
    pub denied: Vec<IpNet>,
    /// Not reachable on the port: the control plane, where it listens on addresses that are otherwise open.
    pub denied_sockets: Latest<Vec<SocketAddr>>,
    /// What is reachable at the node's own addresses, of all that listens there: the ingress, which a name that everybody
    /// resolves may lead to.
    pub own_ports: Vec<u16>,
}

/// Cloud metadata outside the link-local networks.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

// === impl EgressPolicy ===

impl EgressPolicy {
    /// Whether a pod may connect to `address`.
    pub fn allows(&self, address: SocketAddr) -> bool {
        let ip = plain(address.ip());
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        let is_denied_socket = || {
            self.denied_sockets.load().iter().any(|denied| denied.port() == address.port() && covers(denied.ip(), ip))
        };
        let is_on_node = || !self.own_ports.contains(&address.port()) && is_own(ip);
        within(&self.allowed) || !(is_local(ip) || within(&self.denied) || is_denied_socket() || is_on_node())
    }
}

/// A listener on the unspecified address listens on every address of its family.
fn covers(listener: IpAddr, ip: IpAddr) -> bool {
    plain(listener) == ip
}

/// The address itself, whatever IPv6 clothes an IPv4 address wears: mapped, compatible, translated or 6to4.
pub(crate) fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else { return ip.to_canonical() };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        [0x2002, high, low, ..] => v4(high, low),
        [0x64, 0xff9b, .., high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if !v6.is_loopback() && !v6.is_unspecified() => v4(high, low),
        _ => IpAddr::V6(v6),
    }
}

/// Whether the address is one of this node's: then the way there begins at the address itself. Asking sends nothing.
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let begins_at = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    begins_at().is_ok_and(|local| local.ip() == ip)
}

/// The node itself, its link, nobody in particular.
fn is_local(ip: IpAddr) -> bool {
    let is_special = match ip {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 240..) || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    is_special || ip.is_loopback() || ip.is_multicast() || METADATA.contains(&ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &EgressPolicy, address: &str, expected: bool) {
        let socket = match address.parse::<SocketAddr>() {
            Ok(socket) => socket,
            Err(_) => SocketAddr::new(address.parse().expect("an address"), 80),
        };
        assert_eq!(policy.allows(socket), expected, "{address}");
    }

    #[test]
    fn pods_reach_the_world_but_not_the_node() {
        let policy = EgressPolicy::default();
        for open in ["1.1.1.1", "192.168.1.10", "10.0.0.7", "2606:4700::1111", "::ffff:1.1.1.1"] {
            check(&policy, open, true);
        }
        for closed in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "255.255.255.255",
            "224.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            check(&policy, closed, false);
        }
    }

    #[test]
    fn the_control_plane_is_closed_by_its_socket_in_any_clothes() {
        let policy = EgressPolicy {
            denied_sockets: Latest::fixed(vec!["192.0.2.1:6443".parse().expect("a socket")]),
            ..EgressPolicy::default()
        };
        check(&policy, "192.0.2.1:6443", false);
        check(&policy, "[::ffff:192.0.2.1]:6443", false);
        check(&policy, "192.0.2.1:80", true);
    }

    #[test]
    fn the_node_is_closed_by_each_of_its_addresses() {
        // Connecting a datagram socket to a loopback address begins at that address: it is the node's like any other.
        assert!(is_own([127, 0, 0, 1].into()) && !is_own([198, 51, 100, 7].into()));
        let ask = || {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(("198.51.100.7", 9))?;
            socket.local_addr()
        };
        // A machine without any network has no address to try.
        let Ok(own) = ask() else { return };
        let policy = EgressPolicy { own_ports: vec![8080], ..EgressPolicy::default() };
        check(&policy, &format!("{}:22", own.ip()), false);
        check(&policy, &format!("[::ffff:{}]:22", own.ip()), false);
        check(&policy, &format!("{}:8080", own.ip()), true);
    }

    #[test]
    fn what_is_allowed_outweighs_what_is_denied() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let policy = EgressPolicy {
            allowed: vec![net("127.0.0.0/8"), net("10.1.2.3/32")],
            denied: vec![net("10.0.0.0/8")],
            ..EgressPolicy::default()
        };
        check(&policy, "127.0.0.1", true);
        check(&policy, "10.1.2.3", true);
        check(&policy, "10.1.2.4", false);
    }
}
