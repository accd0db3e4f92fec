//! `coracle upgrade`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Access;
use crate::durations;

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    pub(crate) command: UpgradeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// Show which versions run, the level of the cluster, and whether each server can be spared
    Check(Access),
    /// Have the program of every server replaced, one after the other, that of the one that leads last
    Servers(UpgradeServers),
    /// Have the program of nodes replaced, one after the other
    Nodes(UpgradeNodes),
}

/// How programs are replaced.
#[derive(Debug, Args)]
pub(crate) struct Replacing {
    /// What replaces the program of a machine and starts it anew, for `sh`: $CORACLE_NAME is which one (the address of a server, the name
    /// of a node). Without it this says when it is to be done, and waits
    #[arg(long, value_name = "COMMAND")]
    pub(crate) with: Option<String>,
    /// How long a machine may take to be back
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = durations::parse)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeServers {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) replacing: Replacing,
    /// Go on with one server or two, although nobody can write while one is away
    #[arg(long)]
    pub(crate) interrupt: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeNodes {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) replacing: Replacing,
    /// Send a node's pods off before, as disruption budgets allow; without it they are started anew with their node
    #[arg(long)]
    pub(crate) drain: bool,
    /// Which nodes [default: all that are not in the process of a server]
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
}
