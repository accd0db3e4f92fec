//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One node's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the node, and of its object and lease.
    pub node_name: String,
    /// Where images, volumes and logs are kept.
    pub data_dir: PathBuf,
    /// Labels beside those every node has.
    pub labels: BTreeMap<String, String>,
    /// The node's own addresses; the first is `hostIP`.
    pub addresses: Vec<IpAddr>,
    /// What pods may use; what is left out is read from the machine.
    pub resources: Resources,
    /// How often the node's lease is renewed.
    pub lease_period: Duration,
}

/// What a node has to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Pods.
    pub pods: Option<u32>,
}

/// Four renewals fit in the time after which a node is called lost, with room for a slow one.
const LEASE_PERIOD: Duration = Duration::from_secs(3);

// === impl Config ===

impl Config {
    /// Settings for a node of this name on this machine.
    pub fn new(node_name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_name: node_name.into(),
            data_dir: data_dir.into(),
            labels: BTreeMap::new(),
            addresses: Vec::new(),
            resources: Resources::default(),
            lease_period: LEASE_PERIOD,
        }
    }

    /// The address that stands in `hostIP`.
    pub fn host_address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }
}
