//! `coracle encryption`: the keys that what lies on the servers' disks is sealed with.
//!
//! Each server has keys of its own, which never leave it. One command speaks to all of them, one after the other, and says of each what
//! it has done: a server that is away is named, and the command fails, until it is asked again.

use anyhow::{Context, bail};
use client::Client;
use http::Method;
use serde::Deserialize;

use crate::args::{self, EncryptionCommand};
use crate::member::{self, Members};
use crate::{access, get};

#[derive(Deserialize)]
struct Status {
    keys: Vec<u32>,
}

#[derive(Deserialize)]
struct Rotated {
    key: u32,
    retired: Vec<u32>,
}

/// A server of the cluster.
struct Server {
    name: String,
    client: Client,
}

pub(crate) async fn run(command: EncryptionCommand) -> anyhow::Result<()> {
    let (EncryptionCommand::Status(access) | EncryptionCommand::Rotate(access)) = &command;
    let servers = servers(access).await?;
    let mut lines = vec![["SERVER", "SEALS", "OPENS ONLY", ""].map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for server in &servers {
        let told = match command {
            EncryptionCommand::Status(_) => server.status().await,
            EncryptionCommand::Rotate(_) => server.rotate().await,
        };
        let told = told.unwrap_or_else(|error| {
            failed.push(server.name.clone());
            ["<unknown>".into(), "<unknown>".into(), format!("failed: {error:#}")]
        });
        lines.push([server.name.clone()].into_iter().chain(told).collect());
    }
    print!("{}", get::aligned(&lines));
    if failed.is_empty() {
        return Ok(());
    }
    let asked = if matches!(command, EncryptionCommand::Rotate(_)) { "rotated their keys" } else { "answered" };
    bail!("these servers have not {asked}: {}; ask again when they are back", failed.join(", "))
}

/// The servers that there are, each to be asked by itself.
async fn servers(access: &args::Access) -> anyhow::Result<Vec<Server>> {
    let client = access::cluster(access)?.client;
    let Members { all: members, .. } = client.get_json(member::PATH).await?;
    let addresses: Vec<String> =
        members.into_iter().map(|member| member.address).filter(|address| !address.is_empty()).collect();
    // One that is only ever alone has no address for others.
    if addresses.is_empty() {
        return Ok(vec![Server { name: client.server(), client }]);
    }
    Ok(addresses.into_iter().map(|name| Server { client: client.only(&name), name }).collect())
}

fn shown(keys: &[u32]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("{key:08x}")).collect();
    if keys.is_empty() { "<none>".into() } else { keys.join(", ") }
}

// === impl Server ===

impl Server {
    async fn status(&self) -> anyhow::Result<[String; 3]> {
        let Status { keys } = self.client.get_json("/coracle/v1/encryption").await?;
        let (newest, older) = keys.split_first().context("it has no key")?;
        Ok([shown(&[*newest]), shown(older), String::new()])
    }

    async fn rotate(&self) -> anyhow::Result<[String; 3]> {
        let answer = self.client.send(Method::POST, "/coracle/v1/encryption/rotate", None, "").await?;
        let Rotated { key, retired } = serde_json::from_slice(&answer).context("the server's answer cannot be read")?;
        if retired.is_empty() {
            let why = "its log needs older keys still; rotate again later to forget them";
            return Ok([shown(&[key]), "<older>".into(), why.into()]);
        }
        Ok([shown(&[key]), shown(&[]), format!("forgotten: {}", shown(&retired))])
    }
}
