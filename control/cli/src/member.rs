//! `coracle member`: the servers of the cluster.

use anyhow::Context;
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
    pub(crate) members: Vec<Member>,
}

/// One of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    id: String,
    /// Where it is; empty of one that is only ever alone.
    pub(crate) address: String,
    role: String,
    is_leader: bool,
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
        self.members.iter().any(|member| member.is_leader && member.id == self.id)
    }

    /// Whether this one is a member.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.members.iter().any(|member| member.id == id)
    }
}

async fn change(access: &Access, change: &Value) -> anyhow::Result<()> {
    let client = access::cluster(access)?.client;
    let answer = client.send(Method::POST, PATH, Some("application/json"), change.to_string()).await?;
    show(&serde_json::from_slice(&answer).context("the server's answer cannot be read")?);
    Ok(())
}

fn show(members: &Members) {
    let mut lines = vec![["ID", "ADDRESS", "ROLE", "LEADS"].map(str::to_owned).to_vec()];
    lines.extend(members.members.iter().map(|member| {
        let leads = if member.is_leader { "yes" } else { "" };
        // One that has just been brought back has not yet said where it is.
        let address = if member.address.is_empty() { "<none>" } else { &member.address };
        vec![member.id.clone(), address.to_owned(), member.role.clone(), leads.to_owned()]
    }));
    print!("{}", get::aligned(&lines));
}
