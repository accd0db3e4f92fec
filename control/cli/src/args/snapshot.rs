//! What is said about the files that a cluster is brought back from.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

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
    /// Show when snapshots are taken by themselves, or change it; it is for all servers
    Schedule(SetSchedule),
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
    /// The folder, or `s3://BUCKET/PREFIX`, in which the file is given that name
    #[arg(long, value_name = "DIR|s3://…", conflicts_with = "file")]
    pub(crate) to: Option<String>,
    /// Also the images that were pushed to the cluster's registry
    #[arg(long)]
    pub(crate) images: bool,
    /// Also what is in volumes that lie on nodes: of all claims, or of those whose node is there
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "all", default_value = "none")]
    pub(crate) volumes: Volumes,
    /// Of volumes, only those of claims of these namespaces
    #[arg(long = "volumes-of", value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) volumes_of: Vec<String>,
}

/// Of which volumes goes along what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Volumes {
    /// Of none
    #[default]
    None,
    /// Of all; where one cannot be had, there is no snapshot
    All,
    /// Of those that can be had; the others are told by name
    Available,
}

#[derive(Debug, Args)]
pub(crate) struct ListSnapshots {
    /// Files, folders of such files, and `s3://BUCKET/PREFIX`
    #[arg(value_name = "FILE|DIR|s3://…", default_value = ".")]
    pub(crate) places: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreSnapshot {
    /// The file, or `s3://BUCKET/PREFIX/NAME`
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
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

/// When snapshots are taken by themselves.
#[derive(Debug, Clone, Args)]
pub(crate) struct WantedSchedule {
    /// How often a snapshot is taken, such as `5m`, or `never`
    #[arg(id = "snapshot_every", long = "snapshot-every", env = "CORACLE_SNAPSHOT_EVERY", value_name = "DURATION")]
    pub(crate) every: Option<String>,
    /// How many of them are kept
    #[arg(id = "snapshot_keep", long = "snapshot-keep", env = "CORACLE_SNAPSHOT_KEEP", value_name = "COUNT")]
    pub(crate) keep: Option<usize>,
    /// Where: a folder, from the data directory on, or `s3://BUCKET/PREFIX`, for which `AWS_ACCESS_KEY_ID` and the like are in the environment
    #[arg(id = "snapshot_to", long = "snapshot-to", env = "CORACLE_SNAPSHOT_TO", value_name = "DIR|s3://…")]
    pub(crate) to: Option<String>,
    /// Whether images go along
    #[arg(id = "snapshot_images", long = "snapshot-images", env = "CORACLE_SNAPSHOT_IMAGES", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) images: Option<bool>,
    /// Whether what is in volumes that lie on nodes goes along
    #[arg(
        id = "snapshot_volumes",
        long = "snapshot-volumes",
        env = "CORACLE_SNAPSHOT_VOLUMES",
        value_enum,
        value_name = "WHICH"
    )]
    pub(crate) volumes: Option<Volumes>,
}

#[derive(Debug, Args)]
pub(crate) struct SetSchedule {
    #[command(flatten)]
    pub(crate) access: Access,
    /// How often, such as `5m`, or `never`
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// How many are kept
    #[arg(long, value_name = "COUNT")]
    keep: Option<usize>,
    /// Where: a folder of whichever server takes it, from its data directory on, or `s3://BUCKET/PREFIX`
    #[arg(long, value_name = "DIR|s3://…")]
    to: Option<String>,
    /// Whether images go along
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    images: Option<bool>,
    /// Whether what is in volumes that lie on nodes goes along
    #[arg(long, value_enum, value_name = "WHICH")]
    volumes: Option<Volumes>,
}

// === impl Volumes ===

impl Volumes {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::Available => "available",
        }
    }
}

// === impl SetSchedule ===

impl SetSchedule {
    /// What is to change.
    pub(crate) fn wanted(&self) -> WantedSchedule {
        let Self { every, keep, to, images, volumes, .. } = self;
        WantedSchedule { every: every.clone(), keep: *keep, to: to.clone(), images: *images, volumes: *volumes }
    }
}
