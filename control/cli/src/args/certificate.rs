//! `coracle certificate`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Access;
use crate::durations;

#[derive(Debug, Args)]
pub(crate) struct Certificate {
    #[command(subcommand)]
    pub(crate) command: CertificateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// Show who vouches for the cluster, and who has gone over to the one that signs
    Status(Access),
    /// Have a new authority sign everything; nothing stops meanwhile, and the old one is trusted until it is retired
    RotateCa(RotateCa),
    /// Trust the old authority no longer: kubeconfigs, tokens and certificates that are its own are refused from then on
    RetireCa(RetireCa),
}

#[derive(Debug, Args)]
pub(crate) struct RotateCa {
    #[command(flatten)]
    pub(crate) access: Access,
    /// How long to wait for servers and nodes to go over; what they do not do by then they do later
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = durations::parse)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RetireCa {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Leave out servers and nodes that have not gone over: they have to join again
    #[arg(long)]
    pub(crate) force: bool,
}
