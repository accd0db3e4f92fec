//! What is said about what is in volumes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Access;

#[derive(Debug, Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    pub(crate) command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Write what is in the volume of a claim to a file of this machine, a tar archive compressed by gzip
    Save(SaveVolume),
    /// Make a claim whose volume will hold what is in such a file
    Restore(RestoreVolume),
}

#[derive(Debug, Args)]
pub(crate) struct SaveVolume {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The claim as it is now, or `vs/NAME` for a VolumeSnapshot that is there
    #[arg(value_name = "CLAIM|vs/NAME")]
    pub(crate) what: String,
    /// The file, which must not be there yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreVolume {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The claim that is made
    #[arg(value_name = "CLAIM")]
    pub(crate) claim: String,
    /// The node that gets the volume [default: the first one that is ready and takes pods]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// How much the volume may hold, as in `1Gi` [default: what is in the file]
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) size: Option<String>,
    /// The claim's class [default: the cluster's default one]
    #[arg(long, value_name = "NAME")]
    pub(crate) storage_class: Option<String>,
}
