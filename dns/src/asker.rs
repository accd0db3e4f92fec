//! Who asks, and what that one is told.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::zone::View;

/// What somebody may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) view: View,
    /// Whether names that are not the cluster's are looked up for this one.
    pub(crate) is_served: bool,
}

/// Who is a neighbour. Whoever comes from elsewhere is told public names only, nothing is looked up for him (a server that
/// does so for everybody is soon part of an attack), and not more than so often.
#[derive(Clone, Debug)]
pub struct Neighbours {
    networks: Vec<IpNet>,
}

/// Addresses that the internet does not route: this machine, and those of a site.
const PRIVATE: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

// === impl Asker ===

impl Asker {
    /// A pod, or whoever else is within.
    #[cfg(test)]
    pub(crate) const POD: Self = Self { view: View::Pods, is_served: true };
}

// === impl Neighbours ===

impl Neighbours {
    /// The machine, its site, and these networks.
    pub fn and(more: impl IntoIterator<Item = IpNet>) -> Self {
        let private = PRIVATE.iter().map(|text| text.parse().expect("a network written here"));
        Self { networks: private.chain(more).collect() }
    }

    /// What is told to who asks from `source` at a listener with this view.
    pub(crate) fn asker(&self, source: SocketAddr, view: View) -> Asker {
        if self.include(source.ip()) {
            Asker { view, is_served: true }
        } else {
            Asker { view: View::World, is_served: false }
        }
    }

    fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self::and([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, is_near: bool) {
        let source: SocketAddr = SocketAddr::new(source.parse().expect("an address"), 5353);
        let asker = Neighbours::and(["198.51.100.0/24".parse().expect("a network")]).asker(source, View::Pods);
        assert_eq!(asker == Asker::POD, is_near, "{source}");
        assert_eq!(asker.view == View::World, !is_near, "{source}");
    }

    #[test]
    fn the_site_is_near_and_the_world_is_not() {
        for near in
            ["127.0.0.1", "10.1.2.3", "192.168.7.7", "172.31.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "198.51.100.9"]
        {
            check(near, true);
        }
        for far in ["192.0.2.1", "8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0"] {
            check(far, false);
        }
    }
}
