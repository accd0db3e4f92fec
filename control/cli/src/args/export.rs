//! What is said about namespaces that move.

use std::path::PathBuf;

use clap::Args;

use super::Access;

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Also the cluster IPs and node ports of services
    #[arg(long)]
    pub(crate) addresses: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What `coracle export` printed, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only see whether all of it would be taken
    #[arg(long)]
    pub(crate) dry_run: bool,
}
