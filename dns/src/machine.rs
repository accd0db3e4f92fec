//! Whom the machine itself asks for names.

use std::net::{IpAddr, SocketAddr};

/// What the machine's `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Asked for names that are not the cluster's; with nobody to ask, such questions are refused.
    pub servers: Vec<SocketAddr>,
    /// What the machine's short names may end in.
    pub searches: Vec<String>,
    /// With so many dots a name is first tried as it is.
    pub ndots: usize,
}

// === impl Machine ===

impl Machine {
    /// Reads the text of a resolv.conf(5), leaving out whatever in it leads back to a server that listens on `own`.
    pub fn read(text: &str, own: &[SocketAddr]) -> Self {
        let mut machine = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => machine.servers.extend(words.next().and_then(server)),
                // The last line of this kind is the one that counts.
                Some("search" | "domain") => machine.searches = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    machine.ndots = ndots.unwrap_or(machine.ndots);
                }
                _ => {}
            }
        }
        machine.servers.retain(|server| !own.iter().any(|own| leads_to(*server, *own)));
        machine
    }

    /// Asks these servers and completes nothing.
    pub fn asking(servers: Vec<SocketAddr>) -> Self {
        Self { servers, ..Self::default() }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self { servers: Vec::new(), searches: Vec::new(), ndots: 1 }
    }
}

fn server(text: &str) -> Option<SocketAddr> {
    // Of `fe80::1%eth0` the zone is left out: such a server is asked if the address alone says where it is.
    let address: IpAddr = text.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(address, 53))
}

/// Whether a question to `server` comes in at `own`.
fn leads_to(server: SocketAddr, own: SocketAddr) -> bool {
    let is_here = server.ip() == own.ip() || (own.ip().is_unspecified() && server.ip().is_loopback());
    server.port() == own.port() && is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, own: &str, servers: &[&str], searches: &[&str], ndots: usize) {
        let own: Vec<SocketAddr> = own.split_whitespace().map(|own| own.parse().expect("an address")).collect();
        let machine = Machine::read(text, &own);
        let told: Vec<String> = machine.servers.iter().map(ToString::to_string).collect();
        assert_eq!(told, servers, "{text}");
        assert_eq!(machine.searches, searches, "{text}");
        assert_eq!(machine.ndots, ndots, "{text}");
    }

    #[test]
    fn the_machine_tells_whom_it_asks() {
        check("", "", &[], &[], 1);
        check(
            "# a comment\nnameserver 192.0.2.53\nnameserver ::1\nnameserver\n",
            "",
            &["192.0.2.53:53", "[::1]:53"],
            &[],
            1,
        );
        check(
            "domain home\nsearch a.example b.example\noptions rotate ndots:2\n",
            "",
            &[],
            &["a.example", "b.example"],
            2,
        );
        check("nameserver fe80::1%eth0", "", &["[fe80::1]:53"], &[], 1);
    }

    #[test]
    fn nobody_asks_itself() {
        let text = "nameserver 127.0.0.1\nnameserver 192.0.2.1\n";
        check(text, "127.0.0.1:53", &["192.0.2.1:53"], &[], 1);
        check(text, "0.0.0.0:53", &["192.0.2.1:53"], &[], 1);
        check(text, "127.0.0.1:1053", &["127.0.0.1:53", "192.0.2.1:53"], &[], 1);
    }
}
