//! `coracle member`: the servers of the cluster.

use anyhow::Context;
use api::level::{self, Levels, Told};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Access, MemberCommand};
use crate::{access, get};

pub(crate) const PATH: &str = "/coracle/v1/members";

/// What a server tells of all.
#[derive(Deserialize)]
pub(crate) struct Members {
    /// The one that tells.
    id: String,
    /// Of this start of the one that tells; one from before does not say.
    #[serde(default)]
    pub(crate) life: String,
    /// What the one that tells is now; of others, and of itself for a moment, it knows what they have said last.
    #[serde(default)]
    pub(crate) told: Option<Told>,
    /// The level in force.
    #[serde(default = "first")]
    pub(crate) level: u32,
    #[serde(rename = "members")]
    pub(crate) all: Vec<Member>,
}

/// One of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Where it is; empty of one that is only ever alone.
    pub(crate) address: String,
    pub(crate) role: String,
    pub(crate) is_leader: bool,
    /// What it has said of itself: nothing, if it is from before servers did.
    #[serde(flatten)]
    said: Option<Told>,
}

fn first() -> u32 {
    level::FIRST
}

pub(crate) async fn run(command: MemberCommand) -> anyhow::Result<()> {
    match command {
        MemberCommand::List(access) => {
            show(&access::cluster(&access)?.client.get_json::<Members>(PATH).await?);
            Ok(())
        }
        MemberCommand::Promote(args) => change(&args.access, &json!({"change": "promote", "id": args.id})).await,
        MemberCommand::Remove(args) => change(&args.access, &json!({"change": "remove", "id": args.id})).await,
        MemberCommand::Lead(args) => change(&args.access, &json!({"change": "lead", "id": args.id})).await,
        MemberCommand::Replace(args) => {
            change(&args.access, &json!({"change": "replace", "id": args.id, "with": args.with})).await
        }
    }
}

impl Members {
    /// Whether nobody knows it better.
    pub(crate) fn is_told_by_leader(&self) -> bool {
        self.all.iter().any(|member| member.is_leader && member.id == self.id)
    }

    /// Whether this one is a member.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Member> {
        self.all.iter().find(|member| member.id == id)
    }

    /// The highest level that all of them speak.
    pub(crate) fn spoken(&self) -> u32 {
        self.all.iter().map(|member| member.levels().highest).min().unwrap_or(level::FIRST)
    }
}

impl Member {
    /// Whether the others know of it what it is now.
    pub(crate) fn has_said(&self, told: Option<&Told>) -> bool {
        told.is_none() || self.said.as_ref() == told
    }

    pub(crate) fn version(&self) -> String {
        self.said.as_ref().map_or("<unknown>", |said| &said.version).to_owned()
    }

    pub(crate) fn levels(&self) -> Levels {
        self.said.as_ref().map_or(Levels::UNTOLD, |said| said.levels)
    }
}

async fn change(access: &Access, change: &Value) -> anyhow::Result<()> {
    let client = access::cluster(access)?.client;
    let answer = client.send(Method::POST, PATH, Some("application/json"), change.to_string()).await?;
    show(&serde_json::from_slice(&answer).context("the server's answer cannot be read")?);
    Ok(())
}

fn show(members: &Members) {
    let mut lines = vec![["ID", "ADDRESS", "ROLE", "VERSION", "LEVELS", "LEADS"].map(str::to_owned).to_vec()];
    lines.extend(members.all.iter().map(|member| {
        let leads = if member.is_leader { "yes" } else { "" };
        // One that has just been brought back has not yet said where it is.
        let address = if member.address.is_empty() { "<none>" } else { &member.address };
        let (version, levels) = (member.version(), member.levels().to_string());
        [&member.id, address, &member.role, &version, &levels, leads].map(str::to_owned).to_vec()
    }));
    print!("{}", get::aligned(&lines));
}
