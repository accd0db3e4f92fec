//! The machine a node is: what it has, and what it calls itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::config::Resources;

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpu_millis: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) pods: u32,
    /// Of the disk that holds the node's data; nothing if that cannot be told.
    pub(crate) storage_bytes: u64,
    pub(crate) os_image: String,
    pub(crate) kernel: String,
    pub(crate) id: String,
    pub(crate) boot_id: String,
}

/// As many as one range of addresses serves.
const PODS_DEFAULT: u32 = 250;

/// What is taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    /// Processor time since it was started, of all processors and whoever used it.
    pub(crate) busy: Duration,
    /// Memory that could not be had without taking it from somebody.
    pub(crate) memory_bytes: u64,
    /// Memory that can be had.
    pub(crate) memory_free_bytes: u64,
}

/// Linux counts processor time for programs in these.
const TICKS_PER_SECOND: u64 = 100;

/// What is taken of the machine now.
pub(crate) fn in_use() -> InUse {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let meminfo = text("/proc/meminfo");
    let amount = |name| memory_amount(&meminfo, name).unwrap_or(0);
    InUse {
        busy: busy(&text("/proc/stat")).unwrap_or_default(),
        memory_bytes: amount("MemTotal:").saturating_sub(amount("MemAvailable:")),
        memory_free_bytes: memory_amount(&meminfo, "MemAvailable:").unwrap_or(u64::MAX),
    }
}

/// Of the ten figures in the first line the fourth and the fifth are idle, and the last two are part of the first two.
fn busy(stat: &str) -> Option<Duration> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(|ticks| ticks.parse::<u64>().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>()?;
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| *at != 3 && *at != 4).map(|(_, ticks)| ticks).sum();
    Some(Duration::from_millis(busy * 1_000 / TICKS_PER_SECOND))
}

// === impl Machine ===

impl Machine {
    /// Reads the machine, which keeps what it has in `data`; what the configuration says comes first.
    pub(crate) fn read(resources: &Resources, data: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        Self {
            cpu_millis: resources.cpu_millis.unwrap_or(processors * 1_000),
            memory_bytes: resources.memory_bytes.unwrap_or_else(|| memory_bytes(&text("/proc/meminfo")).unwrap_or(0)),
            pods: resources.pods.unwrap_or(PODS_DEFAULT),
            storage_bytes: rustix::fs::statvfs(data).map_or(0, |disk| disk.f_blocks * disk.f_frsize),
            os_image: os_image(&text("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
            kernel: text("/proc/sys/kernel/osrelease"),
            id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// What the node gives, as quantities.
    pub(crate) fn quantities(&self) -> BTreeMap<&'static str, String> {
        let cpu = match self.cpu_millis {
            millis if millis % 1_000 == 0 => (millis / 1_000).to_string(),
            millis => format!("{millis}m"),
        };
        let storage =
            (self.storage_bytes > 0).then(|| ("ephemeral-storage", format!("{}Ki", self.storage_bytes / 1_024)));
        let known =
            [("cpu", cpu), ("memory", format!("{}Ki", self.memory_bytes / 1_024)), ("pods", self.pods.to_string())];
        known.into_iter().chain(storage).collect()
    }

    /// The architecture, as Kubernetes calls it.
    pub(crate) fn architecture() -> &'static str {
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    memory_amount(meminfo, "MemTotal:")
}

fn memory_amount(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

fn os_image(os_release: &str) -> Option<String> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        assert_eq!(memory_bytes("MemTotal:       24600000 kB\nMemFree: 1 kB"), Some(24_600_000 * 1_024));
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"").as_deref(), Some("Debian GNU/Linux 12"));
        let stat = "cpu  100 0 50 9000 30 0 5 0 7 0\ncpu0 1 2 3\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(1_550)));
        let resources = Resources { cpu_millis: Some(1_500), memory_bytes: Some(1 << 20), pods: None };
        let machine = Machine { storage_bytes: 1 << 30, ..Machine::read(&resources, Path::new("/")) };
        let told: Vec<String> =
            machine.quantities().into_iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(told, ["cpu=1500m", "ephemeral-storage=1048576Ki", "memory=1024Ki", "pods=250"]);
    }
}
