//! The DNS server of a node, as the command line wants it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use state::Snapshot;
use tokio::sync::watch;

use crate::running::Running;

/// What the command line says about names.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    /// Where the cluster's DNS server answers
    #[arg(long, env = "CORACLE_DNS", value_name = "ADDRESS")]
    dns: Option<SocketAddr>,
    /// Where it answers this machine's own programs: with 127.43.x.y, where they reach the services of 10.43.x.y
    #[arg(long, env = "CORACLE_DNS_MIRROR", value_name = "ADDRESS")]
    dns_mirror: Option<SocketAddr>,
    /// A network that is told everything, beside the private ones; others are told public names only
    #[arg(long, env = "CORACLE_DNS_NEIGHBOUR", value_delimiter = ',', value_name = "NETWORK")]
    dns_neighbour: Vec<IpNet>,
    /// A zone in which Ingresses and load balancers have the names they ask for, answered to everybody
    #[arg(long, env = "CORACLE_DNS_PUBLIC_ZONE", value_delimiter = ',', value_name = "ZONE")]
    dns_public_zone: Vec<String>,
    /// A name server to which these names are told instead, by signed updates
    #[arg(long, env = "CORACLE_DNS_UPDATE_SERVER", value_name = "ADDRESS", requires_all = ["dns_update_zone", "dns_update_key"])]
    dns_update_server: Option<SocketAddr>,
    /// A zone of that server
    #[arg(long, env = "CORACLE_DNS_UPDATE_ZONE", value_delimiter = ',', value_name = "ZONE")]
    dns_update_zone: Vec<String>,
    /// The key for it, a file as `tsig-keygen` prints it
    #[arg(long, env = "CORACLE_DNS_UPDATE_KEY", value_name = "FILE")]
    dns_update_key: Option<PathBuf>,
    /// What tells this cluster's names from those of others in the zone
    #[arg(long, env = "CORACLE_DNS_UPDATE_OWNER", default_value = "coracle", value_name = "NAME")]
    dns_update_owner: String,
}

/// The listeners of a node's DNS server, and what pods look names up with.
pub(crate) struct Names {
    pub(crate) resolver: dns::Resolver,
    listeners: Vec<dns::Listener>,
    neighbours: dns::Neighbours,
    update: Option<dns::update::Config>,
    pub(crate) address: SocketAddr,
    pub(crate) mirror: Option<SocketAddr>,
}

impl Names {
    /// Listens; nothing is answered yet. `own` is where others find this machine.
    pub(crate) async fn listen(
        flags: &Flags,
        default: SocketAddr,
        own: IpAddr,
        view: &watch::Receiver<Snapshot>,
    ) -> anyhow::Result<Self> {
        let first = listen("dns", flags.dns.unwrap_or(default), own, dns::View::Pods).await?;
        let address = first.local_addr()?;
        let (mut listeners, mut mirror) = (vec![first], None);
        if let Some(at) = flags.dns_mirror {
            let listener = listen("dns-mirror", at, own, dns::View::Node).await?;
            mirror = Some(listener.local_addr()?);
            listeners.push(listener);
        }
        let zone = |name: &String| dns::PublicZone { name: name.clone(), nameservers: vec![own] };
        let authority = dns::Authority {
            mirror: mirror.map(|_| dns::Mirror::default()),
            zones: flags.dns_public_zone.iter().map(zone).collect(),
            ..dns::Authority::default()
        };
        let listening: Vec<SocketAddr> = [address].into_iter().chain(mirror).collect();
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let machine = dns::Machine::read(&text, &listening);
        let resolver = dns::Resolver::new(authority, machine, &view.borrow())?;
        let neighbours = dns::Neighbours::and(flags.dns_neighbour.iter().copied());
        Ok(Self { resolver, listeners, neighbours, update: update(flags)?, address, mirror })
    }

    /// Answers from now on.
    pub(crate) fn start(self, view: &watch::Receiver<Snapshot>, doors: &mut Running) {
        let config = dns::Config { listeners: self.listeners, neighbours: self.neighbours };
        let serving = dns::run(config, self.resolver, view.clone(), doors.stopping());
        doors.start("DNS server", serving);
        if let Some(update) = self.update {
            let telling = dns::update::run(update, view.clone(), doors.stopping());
            doors.start("DNS updates", telling);
        }
    }
}

async fn listen(flag: &str, address: SocketAddr, own: IpAddr, view: dns::View) -> anyhow::Result<dns::Listener> {
    // Bound to all addresses, an answer might leave from another than was asked; and some machines have a resolver of
    // their own on the loopback.
    let address = if address.ip().is_unspecified() { SocketAddr::new(own, address.port()) } else { address };
    let listener = dns::Listener::bind(address, view).await;
    listener.with_context(|| format!("cannot listen on {address}; choose another address with --{flag}"))
}

fn update(flags: &Flags) -> anyhow::Result<Option<dns::update::Config>> {
    let (Some(server), Some(file)) = (flags.dns_update_server, &flags.dns_update_key) else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    let key = text.parse().with_context(|| format!("{} holds no key", file.display()))?;
    let (zones, owner) = (flags.dns_update_zone.clone(), flags.dns_update_owner.clone());
    Ok(Some(dns::update::Config { server, zones, key, owner }))
}
