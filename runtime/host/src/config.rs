//! How large a host is, and where it keeps things.
//!
//! The size of the instance pool is not a wish but a consequence: the kernel allows a process a number of memory maps
//! (`vm.max_map_count`), and every live instance takes some of them.

use std::path::PathBuf;
use std::time::Duration;

/// Maps of one live instance: its memory, image and guards take four, its stack two.
const MAPS_PER_INSTANCE: u32 = 6;

/// Maps left to everything else in the process: threads, allocators, compiled code.
const MAPS_RESERVED: u32 = 8_192;

/// Every slot costs start-up time and memory, used or not (1,000 cost 3 ms and 0.5 MiB), and reserves 8 GiB of an
/// address space that may hold several hosts.
const INSTANCES_MAX: u32 = 2_048;

/// A host must run something, however small the node.
const INSTANCES_MIN: u32 = 16;

/// More than this costs the kernel more memory than guests should.
const FILES_MAX: usize = 65_536;

/// Linux's default, taken where the limit cannot be read.
const MAP_COUNT_DEFAULT: u32 = 65_530;

/// What a [`Host`](crate::Host) is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where compiled components are kept; made when absent, readable by this user alone.
    pub cache_dir: PathBuf,
    /// Instances that may live at the same time, of all workloads together.
    pub instances_max: u32,
    /// Files that guests may have open at the same time, of all workloads together.
    pub files_max: usize,
    /// Threads on which guests run, and as many again on which those run that compute without end.
    pub guest_threads: usize,
    /// How long a guest may keep a thread before it gives way.
    pub tick: Duration,
    /// The program that compiles when called as `PROGRAM compile-component INPUT OUTPUT [NAME LINKED]…` (see
    /// [`compile::child_main`](crate::compile::child_main)); without one, this process does it and stays large
    /// afterwards.
    pub compiler: Option<PathBuf>,
    /// A compilation that takes longer is given up.
    pub compile_timeout: Duration,
}

// === impl Config ===

impl Config {
    /// A configuration sized by this node: its processors and its limit on memory maps.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            instances_max: instances_for(map_count_max()),
            files_max: files_for(rustix::process::getrlimit(rustix::process::Resource::Nofile).current),
            guest_threads: std::thread::available_parallelism().map_or(1, usize::from),
            tick: Duration::from_millis(5),
            compiler: None,
            compile_timeout: Duration::from_mins(5),
        }
    }
}

/// How many instances may live at once where the kernel allows `map_count_max` memory maps.
pub fn instances_for(map_count_max: u32) -> u32 {
    (map_count_max.saturating_sub(MAPS_RESERVED) / MAPS_PER_INSTANCE).clamp(INSTANCES_MIN, INSTANCES_MAX)
}

/// How many files guests may have open where the process may open so many: the other half is for the node itself.
fn files_for(open_files_max: Option<u64>) -> usize {
    open_files_max.map_or(FILES_MAX, |most| usize::try_from(most / 2).unwrap_or(FILES_MAX)).min(FILES_MAX)
}

fn map_count_max() -> u32 {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MAP_COUNT_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_follows_the_limit_on_maps() {
        assert_eq!(instances_for(MAP_COUNT_DEFAULT), INSTANCES_MAX);
        assert_eq!(instances_for(14_192), 1_000);
        assert_eq!(instances_for(0), INSTANCES_MIN);
        assert_eq!(instances_for(u32::MAX), INSTANCES_MAX);
    }
}
