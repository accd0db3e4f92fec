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
    /// Also what is in volumes that lie on nodes, as `CLAIM.tar.gz` in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) volumes: Option<PathBuf>,
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
    /// The folder with what `coracle export --volumes` took; waits until the pods of those claims have nodes
    #[arg(long, value_name = "DIR")]
    pub(crate) volumes: Option<PathBuf>,
    /// All is there already: only go on with filling the volumes that wait
    #[arg(long, requires = "volumes", conflicts_with = "dry_run")]
    pub(crate) volumes_only: bool,
}
