//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::level::Levels;

use crate::eviction::{Amount, Thresholds};
use crate::kept::Kept;
use crate::volumes::host_path::HostPaths;

/// One node's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the node, and of its object and lease.
    pub node_name: String,
    /// Where images, volumes and logs are kept.
    pub data_dir: PathBuf,
    /// Where secrets are put that pods mount: a directory in memory, so that they are on no disk. None if the machine has no
    /// such place: then they lie with the other volumes.
    pub memory_dir: Option<PathBuf>,
    /// Labels beside those every node has.
    pub labels: BTreeMap<String, String>,
    /// The node's own addresses; the first is `hostIP`.
    pub addresses: Vec<IpAddr>,
    /// Where other nodes dial this one; none where they cannot.
    pub tunnel: Option<SocketAddr>,
    /// What it speaks to servers.
    pub levels: Levels,
    /// What pods may use; what is left out is read from the machine.
    pub resources: Resources,
    /// How often the node's lease is renewed.
    pub lease_period: Duration,
    /// The server in the node's own process (host and port), if there is one.
    pub home: Option<String>,
    /// Whether the node says that it stops, so that nobody sends it requests; to be said while somebody is left who hears it.
    pub says_farewell: bool,
    /// What the node was last told, and is told, if it keeps that.
    pub kept: Option<Kept>,
    /// When images are let go.
    pub collection: Collection,
    /// How much of what containers print is kept.
    pub rotation: Rotation,
    /// Which paths of the node pods may see.
    pub host_paths: HostPaths,
    /// When pods are sent off for want of memory or disk.
    pub eviction: Eviction,
}

/// When a node lets go of images that nothing on it uses, and of what was compiled from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// How often to look.
    pub period: Duration,
    /// From here on, in percent of the disk, images are let go.
    pub high_percent: u8,
    /// Down to here.
    pub low_percent: u8,
    /// The same percentages also count of so many bytes, for images alone.
    pub bytes_max: Option<u64>,
    /// What was used within this time stays: it may be wanted again at once.
    pub age_min: Duration,
}

/// How much is kept of the log of a container's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file of this size is put aside, and a new one begun.
    pub file_bytes_max: u64,
    /// Files kept, the newest included; never less than two.
    pub files_max: u32,
}

/// When a node sends pods off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// How little may be left.
    pub thresholds: Thresholds,
    /// A node that was short of something says so for this long after it has enough again.
    pub transition_period: Duration,
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

/// As a kubelet has it: four renewals fit in the time after which a lease is over. That a node lives is seen on its link sooner,
/// and at no cost to the disk of any server.
const LEASE_PERIOD: Duration = Duration::from_secs(10);

// === impl Config ===

impl Config {
    /// Settings for a node of this name on this machine.
    pub fn new(node_name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_name: node_name.into(),
            data_dir: data_dir.into(),
            memory_dir: None,
            labels: BTreeMap::new(),
            addresses: Vec::new(),
            tunnel: None,
            levels: Levels::OWN,
            resources: Resources::default(),
            lease_period: LEASE_PERIOD,
            home: None,
            says_farewell: false,
            kept: None,
            collection: Collection::default(),
            rotation: Rotation::default(),
            host_paths: HostPaths::default(),
            eviction: Eviction::default(),
        }
    }

    /// Where volumes lie that outlive pods.
    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.data_dir.join("volumes")
    }

    /// Where volumes lie as files.
    pub(crate) fn archives_dir(&self) -> PathBuf {
        self.data_dir.join("snapshots")
    }

    /// Where lies what is here of volumes that are elsewhere.
    pub(crate) fn remote_dir(&self) -> PathBuf {
        self.data_dir.join("remote")
    }

    /// The address that stands in `hostIP`.
    pub fn host_address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }
}

// === impl Collection ===

impl Default for Collection {
    /// As a kubelet has it.
    fn default() -> Self {
        Self {
            period: Duration::from_mins(5),
            high_percent: 85,
            low_percent: 80,
            bytes_max: None,
            age_min: Duration::from_mins(2),
        }
    }
}

// === impl Eviction ===

impl Default for Eviction {
    /// As a kubelet has it, save that a large disk need not have a tenth of it free.
    fn default() -> Self {
        let thresholds = Thresholds {
            memory: Some(Amount::Just(100 << 20)),
            disk: Some(Amount::Just(1 << 30)),
            inodes: Some(Amount::Percent(5)),
        };
        Self { thresholds, transition_period: Duration::from_mins(5) }
    }
}

// === impl Rotation ===

impl Default for Rotation {
    /// As a kubelet has it.
    fn default() -> Self {
        Self { file_bytes_max: 10 << 20, files_max: 5 }
    }
}
