//! What a node may keep on its disk, and show of it. The words are a kubelet's.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Disk {
    /// A container's log goes on in a new file when it has grown to this size
    #[arg(long, env = "CORACLE_CONTAINER_LOG_MAX_SIZE", default_value = "10Mi", value_name = "SIZE", value_parser = bytes)]
    container_log_max_size: u64,
    /// So many files of a container's log are kept
    #[arg(long, env = "CORACLE_CONTAINER_LOG_MAX_FILES", default_value = "5", value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(2..))]
    container_log_max_files: u32,
    /// From this share of the disk on, images that nothing uses are let go
    #[arg(long, env = "CORACLE_IMAGE_GC_HIGH_THRESHOLD", default_value = "85", value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_high_threshold: u8,
    /// Down to this share
    #[arg(long, env = "CORACLE_IMAGE_GC_LOW_THRESHOLD", default_value = "80", value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_low_threshold: u8,
    /// Images may take so much; the same shares count of it
    #[arg(long, env = "CORACLE_IMAGE_MAX_SIZE", value_name = "SIZE", value_parser = bytes)]
    image_max_size: Option<u64>,
    /// Pods are evicted while less than this is left, of `memory.available`, `nodefs.available` and `nodefs.inodesFree`; those
    /// not named have no limit
    #[arg(
        long,
        env = "CORACLE_EVICTION_HARD",
        value_name = "SIGNAL<AMOUNT,…",
        default_value = "memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<5%"
    )]
    eviction_hard: agent::Thresholds,
    /// A node that was short of something is told as such for so long after it has enough again
    #[arg(long, env = "CORACLE_EVICTION_PRESSURE_TRANSITION_PERIOD", default_value = "5m", value_name = "DURATION",
        value_parser = crate::durations::parse)]
    eviction_pressure_transition_period: Duration,
    /// Paths of this machine that pods may mount, with all that is below them, or `none` [default: any]
    #[arg(long, env = "CORACLE_HOST_PATH", value_delimiter = ',', value_name = "DIR")]
    host_path: Vec<PathBuf>,
}

// === impl Disk ===

impl Disk {
    /// When images are let go.
    pub(crate) fn collection(&self) -> agent::Collection {
        agent::Collection {
            high_percent: self.image_gc_high_threshold,
            low_percent: self.image_gc_low_threshold.min(self.image_gc_high_threshold),
            bytes_max: self.image_max_size,
            ..agent::Collection::default()
        }
    }

    /// Which paths of this machine pods may see.
    pub(crate) fn host_paths(&self) -> agent::HostPaths {
        match self.host_path.as_slice() {
            [] => agent::HostPaths::Any,
            [none] if none.as_os_str() == "none" => agent::HostPaths::Below(Vec::new()),
            paths => agent::HostPaths::Below(paths.to_vec()),
        }
    }

    /// When pods are sent off for want of memory or disk.
    pub(crate) fn eviction(&self) -> agent::Eviction {
        agent::Eviction { thresholds: self.eviction_hard, transition_period: self.eviction_pressure_transition_period }
    }

    /// How much of what containers print is kept.
    pub(crate) fn rotation(&self) -> agent::Rotation {
        agent::Rotation { file_bytes_max: self.container_log_max_size, files_max: self.container_log_max_files }
    }
}

/// Reads an amount of bytes as Kubernetes writes it.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let amount: api::quantity::Quantity = text.parse().map_err(|error| format!("{error}: such as 10Mi"))?;
    u64::try_from(amount.value()).ok().filter(|bytes| *bytes > 0).ok_or_else(|| "must be more than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_in_manifests() {
        assert_eq!(bytes("10Mi"), Ok(10 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        assert!(bytes("-1").is_err() && bytes("0").is_err() && bytes("much").is_err());
    }
}
