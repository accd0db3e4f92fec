//! What is said about the files that a cluster is brought back from.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Access;

#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Write everything that the cluster knows to a file, sealed
    Save(SaveSnapshot),
    /// Show what is in such files, and whether they are whole
    List(ListSnapshots),
    /// Make the data directory of a new cluster from such a file
    Restore(RestoreSnapshot),
    /// Print the key that opens the cluster's snapshots; keep it elsewhere than those
    Key(Access),
}

#[derive(Debug, Args)]
pub(crate) struct SaveSnapshot {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The file, which must not be there yet [default: a name that tells the cluster and the time]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Also the images that were pushed to the server's registry
    #[arg(long)]
    pub(crate) images: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListSnapshots {
    /// Files, and folders of such files
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    pub(crate) places: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreSnapshot {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file with what `coracle snapshot key` printed
    #[arg(long, env = "CORACLE_SNAPSHOT_KEY", value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where everything is to be kept; there must be nothing yet
    #[arg(long, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The file with the keys that seal what lies on the disk, made if it is missing
    /// [default: store/keys.json in the data directory]
    #[arg(long, env = "CORACLE_ENCRYPTION_KEYS", value_name = "FILE")]
    pub(crate) encryption_keys: Option<PathBuf>,
    /// Only show what there would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}
