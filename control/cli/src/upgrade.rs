//! `coracle upgrade`: another program in the place of the one that runs, on one machine after the other, while everything goes on.
//!
//! How a program is replaced is for people to say, with a command or their hands. What is seen to here is when: a server goes only
//! when the others are ready and enough, after another leads, and the next goes only when it is back, has caught up and answers. The
//! first thing that is not as it should be ends it, and what was done until then is as good as it was: two adjacent versions are one
//! cluster.

mod nodes;
mod plan;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use client::Client;
use http::Method;
use serde_json::json;
use tokio::process::Command;

use crate::args::{Access, Replacing, UpgradeCommand, UpgradeServers};
use crate::member::{self, Members};
use crate::progress::{Progress, Step, say};
use crate::{access, get};
use plan::Seen;

/// How often it is looked whether a machine is back.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A server that is there has answered by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Whoever leads raises the level as soon as the last server has told what it speaks.
const LEVEL_WITHIN: Duration = Duration::from_secs(10);

/// The servers as they were found.
struct Found {
    told: Members,
    /// In the same order.
    seen: Vec<Seen>,
}

pub(crate) async fn run(command: UpgradeCommand) -> anyhow::Result<()> {
    match command {
        UpgradeCommand::Check(access) => check(&access).await,
        UpgradeCommand::Servers(args) => servers(&args).await,
        UpgradeCommand::Nodes(args) => nodes::upgrade(&args).await,
    }
}

async fn check(access: &Access) -> anyhow::Result<()> {
    let client = access::cluster(access)?.client;
    let Found { told, seen } = Found::look(&client).await?;
    let mut lines =
        vec![["SERVER", "VERSION", "LEVELS", "LEADS", "READY", "CAN BE SPARED"].map(str::to_owned).to_vec()];
    let mut are_spared = true;
    for (member, one) in told.all.iter().zip(&seen) {
        let objections = plan::objections(&seen, &one.id);
        are_spared &= objections.is_empty();
        let spared = if objections.is_empty() { "yes".into() } else { format!("no: {}", objections.join("; ")) };
        let (leads, ready) = (if one.leads { "yes" } else { "" }, if one.is_ready { "yes" } else { "no" });
        let (version, levels) = (member.version(), member.levels().to_string());
        lines.push([&one.address, &version, &levels, leads, ready, &spared].map(str::to_owned).to_vec());
    }
    print!("{}", get::aligned(&lines));
    println!();
    print!("{}", get::aligned(&nodes::table(&client).await?));
    println!();
    println!("{}", told_of_level(&told));
    if !are_spared {
        bail!("not every server can be spared");
    }
    Ok(())
}

async fn servers(args: &UpgradeServers) -> anyhow::Result<()> {
    let client = access::cluster(&args.access)?.client;
    let progress = Progress::new();
    for id in plan::order(&Found::look(&client).await?.seen) {
        let found = Found::look(&client).await?;
        // It was removed meanwhile.
        let Some(going) = found.seen.iter().find(|seen| seen.id == id) else { continue };
        let objections = plan::objections(&found.seen, &id);
        let are_few = found.seen.iter().filter(|seen| seen.is_voter).count() < 3;
        let may_interrupt = args.interrupt && are_few;
        if !objections.is_empty() && !may_interrupt {
            let who =
                if going.address.is_empty() { "the only server".into() } else { format!("server {}", going.address) };
            let hint = if are_few {
                "; with --interrupt it is replaced all the same, and nobody can write meanwhile"
            } else {
                ""
            };
            bail!("{who} cannot be spared: {}{hint}", objections.join("; "));
        }
        if going.leads
            && let Some(heir) = plan::heir(&found.seen, &id)
        {
            let step = progress.step(format!("lead to {}", heir.address));
            let asked = json!({"change": "lead", "id": heir.id}).to_string();
            client.send(Method::POST, member::PATH, Some("application/json"), asked).await?;
            step.done("handed over");
        }
        let server = one(&client, &going.address);
        let life = server.get_json::<Members>(member::PATH).await.ok().map(|told| told.life);
        let step = progress.step(format!("server {}", going.address));
        replace(&args.replacing, &going.address, &step).await?;
        let back = back(&server, &id, life.as_deref(), args.replacing.timeout).await;
        let told = back.with_context(|| {
            format!(
                "server {} is not back; no other was touched, and this goes on from there when it is asked again",
                going.address
            )
        })?;
        step.done(&told);
    }
    let until = Instant::now() + LEVEL_WITHIN;
    loop {
        let told: Members = client.get_json(member::PATH).await?;
        if told.level >= told.spoken() || Instant::now() > until {
            say(&told_of_level(&told));
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until a server lives another life than before, is a server again, and answers what only one can that has caught up. Tells its
/// version.
async fn back(server: &Client, id: &str, before: Option<&str>, patience: Duration) -> anyhow::Result<String> {
    let until = Instant::now() + patience;
    let mut why = String::from("it has not been started anew");
    while Instant::now() < until {
        match server.get_json::<Members>(member::PATH).await {
            Ok(told) if before == Some(&told.life) => {}
            Ok(told) => match told.get(id) {
                Some(own) if own.has_said(told.told.as_ref()) && is_ready(server).await => {
                    return Ok(format!("version {}, levels {}", own.version(), own.levels()));
                }
                _ => why = "it is not ready".into(),
            },
            Err(error) => why = error.to_string(),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!(why)
}

/// Has the program of a machine replaced.
async fn replace(replacing: &Replacing, name: &str, step: &Step) -> anyhow::Result<()> {
    let Some(command) = &replacing.with else {
        step.warn("replace its program and start it anew; this waits until it is back");
        return Ok(());
    };
    let status = Command::new("sh").arg("-c").arg(command).env("CORACLE_NAME", name).status().await;
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed for {name} ({status}); nothing further was touched");
    }
    Ok(())
}

fn one(client: &Client, address: &str) -> Client {
    // One that is only ever alone has no address for others.
    if address.is_empty() { client.apart() } else { client.only(address) }
}

async fn is_ready(server: &Client) -> bool {
    let asked = server.send(Method::GET, "/readyz", None, "");
    matches!(tokio::time::timeout(ANSWER_WITHIN, asked).await, Ok(Ok(_)))
}

fn told_of_level(told: &Members) -> String {
    let level = told.level;
    match told.spoken() {
        spoken if spoken > level => format!("the cluster is at level {level}; every server speaks {spoken}"),
        _ => format!("the cluster is at level {level}"),
    }
}

// === impl Found ===

impl Found {
    /// Asks every server by itself.
    async fn look(client: &Client) -> anyhow::Result<Self> {
        let told: Members = client.get_json(member::PATH).await?;
        let seen = told.all.iter().map(|member| async {
            let server = one(client, &member.address);
            Seen {
                id: member.id.clone(),
                address: member.address.clone(),
                is_voter: member.role == "voter",
                leads: member.is_leader,
                is_ready: is_ready(&server).await,
            }
        });
        let seen = futures::future::join_all(seen).await;
        Ok(Self { told, seen })
    }
}
