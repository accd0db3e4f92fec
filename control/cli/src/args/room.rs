//! How much a node takes on at a time.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Room {
    /// So many pods are taken on; the node is given addresses for them [default: 1000 for `up`, else 250]
    #[arg(long, env = "CORACLE_MAX_PODS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) max_pods: Option<u32>,
    /// So many instances live at a time, those of all pods together; each takes six of the kernel's memory maps
    /// (`vm.max_map_count`) [default: what they allow, at most 2048]
    #[arg(long, env = "CORACLE_MAX_INSTANCES", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) max_instances: Option<u32>,
}
