//! Machines at the far end of a narrow link, behind an address translator: a few lines of C in a router between them and the bridge,
//! since not every kernel has `netem` and `nftables`.
//!
//! ```text
//! machine ─┐                       ┌ narrow.c ┐
//! machine ─┴ site's bridge ─ lan0 ─┤  tun0    ├─ eth0 ─ everybody's bridge ─ the other machines
//! ```
//! Among themselves the machines are as near as before. Nobody outside can dial them, and hears of them from [`OUTSIDE`] alone.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::cable::compile;
use crate::namespaces::ip;

/// The address that the machines have outside.
const OUTSIDE: &str = "192.0.2.200";
/// Those of the router.
const ROUTER: [&str; 2] = ["192.0.2.250/24", "192.0.2.251/32"];
/// What comes from the site is routed by this table.
const TABLE: &str = "100";

/// How narrow a link is, both ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// So many bits of whole packets cross in a second.
    pub bits_a_second: u64,
    /// How long each takes beside that.
    pub delay: Duration,
    /// So many bytes wait at most; what comes then is lost.
    pub queue_bytes: u64,
}

/// What has crossed a link so far, in bytes of whole packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossed {
    /// From the machines behind it.
    pub up: u64,
    /// To them.
    pub down: u64,
    /// Nowhere: the queue was full.
    pub lost: u64,
}

/// A link with machines behind it, which are on everybody's bridge again when this goes.
#[derive(Debug)]
pub struct NarrowLink {
    child: Child,
    asking: ChildStdin,
    told: BufReader<ChildStdout>,
    bridge: String,
    ports: Vec<String>,
    router: String,
    /// Where the program is.
    _folder: TempDir,
}

// === impl NarrowLink ===

impl NarrowLink {
    /// A link to the bridge in the namespace `bridge` for what hangs on these of its ports, whose machines have these addresses.
    pub(crate) fn to(bridge: String, ports: Vec<String>, addresses: &[String], how: Narrow) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let program = folder.path().join("narrow");
        compile("narrow.c", &program)?;
        let router = format!("{bridge}rt");
        let say = |words: &[&str]| ip(words).map_err(anyhow::Error::msg);
        let there = |words: &[&str]| say(&[&["-n", &router], words].concat());
        say(&["netns", "add", &router])?;
        say(&["-n", &bridge, "link", "add", "site0", "type", "bridge"])?;
        say(&["-n", &bridge, "link", "set", "site0", "up"])?;
        for (port, inside, bridged, address) in [("wan", "eth0", "br0", ROUTER[0]), ("lan", "lan0", "site0", ROUTER[1])]
        {
            say(&["-n", &bridge, "link", "add", port, "type", "veth", "peer", "name", inside, "netns", &router])?;
            say(&["-n", &bridge, "link", "set", port, "master", bridged, "up"])?;
            there(&["address", "add", address, "dev", inside])?;
            there(&["link", "set", inside, "up"])?;
        }
        let numbers = [how.bits_a_second.into(), how.delay.as_micros(), how.queue_bytes.into()];
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &router]).arg(&program).args(["tun0", OUTSIDE]);
        command.args(numbers.iter().map(ToString::to_string));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run ip")?;
        let asking = child.stdin.take().context("it is piped")?;
        let told = BufReader::new(child.stdout.take().context("it is piped")?);
        let mut link = Self { child, asking, told, bridge, ports, router: router.clone(), _folder: folder };
        let said = link.line()?;
        ensure!(said == "ready", "the link said {said:?}");
        there(&["link", "set", "tun0", "up"])?;
        there(&["route", "add", OUTSIDE, "dev", "tun0"])?;
        there(&["neighbour", "add", "proxy", OUTSIDE, "dev", "eth0"])?;
        there(&["rule", "add", "iif", "lan0", "lookup", TABLE])?;
        there(&["route", "add", "default", "dev", "tun0", "table", TABLE])?;
        for address in addresses {
            there(&["route", "add", address, "dev", "lan0"])?;
            there(&["route", "add", address, "dev", "lan0", "table", TABLE])?;
        }
        let settings = "cd /proc/sys/net/ipv4 && echo 1 > ip_forward && echo 0 > neigh/eth0/proxy_delay \
                        && echo 0 > neigh/lan0/proxy_delay && echo 1 > conf/lan0/proxy_arp \
                        && for each in all default eth0 lan0 tun0; do echo 0 > conf/$each/rp_filter; done \
                        && for each in all eth0 lan0 tun0; do echo 0 > conf/$each/send_redirects; done";
        say(&["netns", "exec", &router, "sh", "-c", settings])?;
        for port in &link.ports {
            say(&["-n", &link.bridge, "link", "set", port, "master", "site0"])?;
        }
        Ok(link)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut said = String::new();
        self.told.read_line(&mut said)?;
        Ok(said.trim().to_owned())
    }

    /// What has crossed it so far.
    pub fn crossed(&mut self) -> Crossed {
        let told = self.asking.write_all(b"?\n").map_err(anyhow::Error::from).and_then(|()| self.line());
        let told = told.unwrap_or_else(|error| panic!("the link is gone: {error:#}"));
        let numbers: Vec<u64> = told.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [up, down, lost] = numbers[..] else { panic!("the link said {told:?}") };
        Crossed { up, down, lost }
    }
}

impl Drop for NarrowLink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for port in &self.ports {
            let _ = ip(&["-n", &self.bridge, "link", "set", port, "master", "br0"]);
        }
        let _ = ip(&["netns", "delete", &self.router]);
        let _ = ip(&["-n", &self.bridge, "link", "delete", "site0"]);
    }
}

// === impl Crossed ===

impl Crossed {
    /// What has crossed since then.
    pub fn since(self, before: Self) -> Self {
        Self { up: self.up - before.up, down: self.down - before.down, lost: self.lost - before.lost }
    }
}

impl fmt::Display for Crossed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes up, {} down, {} lost", self.up, self.down, self.lost)
    }
}
