//! `coracle volume`: what is in a claim's volume, as a file of this machine, and back.
//!
//! The file is the archive of a `VolumeSnapshot`, which is carried off from its node or brought to one. Both go by way of the
//! node's proxy, so whoever does this may use `nodes/proxy`: an administrator.

mod restore;
mod save;

use api::{GroupKind, Key, Object};
use client::{Client, DeleteOptions};
use serde_json::Value;

use crate::args::VolumeCommand;

pub(crate) async fn run(command: VolumeCommand) -> anyhow::Result<()> {
    match command {
        VolumeCommand::Save(args) => save::run(args).await,
        VolumeCommand::Restore(args) => restore::run(args).await,
    }
}

/// Where a node gives and takes an archive.
fn archive(node: &str, name: &str) -> String {
    format!("/api/v1/nodes/{node}/proxy/archives/{name}")
}

async fn create(client: &Client, kind: GroupKind, object: Value) -> anyhow::Result<Key> {
    Ok(client.create(&Object::from_tree(kind, object)?).await?.key().clone())
}

/// What was made on the way and is of no use goes again; where that fails, the error that is told is the first one.
async fn unmake(client: &Client, made: &[Key]) {
    for key in made.iter().rev() {
        if let Err(error) = client.delete(key, &DeleteOptions::default()).await {
            tracing::debug!(%key, %error, "it stays");
        }
    }
}
