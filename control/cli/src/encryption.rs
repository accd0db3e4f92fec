//! `coracle encryption`: the keys that what lies on the server's disk is sealed with.

use anyhow::Context;
use http::Method;
use serde::Deserialize;

use crate::access;
use crate::args::{self, EncryptionCommand};
use crate::progress;

#[derive(Deserialize)]
struct Status {
    keys: Vec<u32>,
}

#[derive(Deserialize)]
struct Rotated {
    key: u32,
    retired: Vec<u32>,
}

pub(crate) async fn run(command: EncryptionCommand) -> anyhow::Result<()> {
    match command {
        EncryptionCommand::Status(args) => status(&args).await,
        EncryptionCommand::Rotate(args) => rotate(&args).await,
    }
}

async fn status(access: &args::Access) -> anyhow::Result<()> {
    let client = access::cluster(access)?.client;
    let status: Status = client.get_json("/coracle/v1/encryption").await?;
    for (place, key) in status.keys.iter().enumerate() {
        println!("key {key:08x}  {}", if place == 0 { "seals what is written" } else { "opens what is older" });
    }
    Ok(())
}

async fn rotate(access: &args::Access) -> anyhow::Result<()> {
    let client = access::cluster(access)?.client;
    let answer = client.send(Method::POST, "/coracle/v1/encryption/rotate", None, "").await?;
    let Rotated { key, retired } = serde_json::from_slice(&answer).context("the server's answer cannot be read")?;
    progress::say(&format!("key {key:08x} seals everything now"));
    for old in &retired {
        progress::say(&format!("key {old:08x} is forgotten"));
    }
    if retired.is_empty() {
        progress::say("older keys are still needed; rotate again later to forget them");
    }
    Ok(())
}
