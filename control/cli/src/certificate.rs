//! `coracle certificate`: the authority that vouches for the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use client::Client;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::CertificateCommand;
use crate::progress::say;
use crate::{access, get};

const PATH: &str = "/coracle/v1/authority";
/// What it is called when the new one signs.
const TURNED: &str = "turned";
/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: String,
    /// Fingerprints; the first signs.
    authorities: Vec<String>,
    servers: Vec<Server>,
    nodes: Vec<Node>,
    #[serde(default)]
    left_out: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    id: String,
    address: String,
    has_gone_over: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: String,
    has_gone_over: bool,
}

pub(crate) async fn run(command: CertificateCommand) -> anyhow::Result<()> {
    match command {
        CertificateCommand::Status(args) => {
            let client = access::cluster(&args)?.client;
            show(&client.get_json::<Status>(PATH).await?);
            Ok(())
        }
        CertificateCommand::RotateCa(args) => rotate(&access::cluster(&args.access)?.client, args.timeout).await,
        CertificateCommand::RetireCa(args) => {
            let client = access::cluster(&args.access)?.client;
            let status = change(&client, &json!({"change": "retire", "force": args.force})).await?;
            say("the last authority is trusted no longer: what it signed is refused");
            for one in &status.left_out {
                say(&format!("left out: {one}; it has to join again"));
            }
            Ok(())
        }
    }
}

async fn rotate(client: &Client, patience: Duration) -> anyhow::Result<()> {
    change(client, &json!({"change": "rotate"})).await?;
    let until = Instant::now() + patience;
    loop {
        // A server may be busy with just this.
        let told = client.get_json::<Status>(PATH).await;
        let is_over = Instant::now() > until;
        match told {
            Ok(status) if status.phase == TURNED && status.behind().is_empty() => {
                show(&status);
                say("everybody has gone over; the last authority is trusted until `coracle certificate retire-ca`");
                say(
                    "give out new kubeconfigs (`coracle kubeconfig`) and tokens, and start anew pods that read ca.crt once, before that",
                );
                return Ok(());
            }
            Ok(status) if is_over => {
                show(&status);
                bail!("these have not gone over yet, and do when they can: {}", status.behind().join(", "));
            }
            Err(error) if is_over => return Err(error).context("it goes on, but nobody tells how far it is"),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn change(client: &Client, change: &Value) -> anyhow::Result<Status> {
    let answer = client.send(Method::POST, PATH, Some("application/json"), change.to_string()).await?;
    serde_json::from_slice(&answer).context("the server's answer cannot be read")
}

fn show(status: &Status) {
    println!("phase: {}", status.phase);
    for (place, authority) in status.authorities.iter().enumerate() {
        println!("authority {authority}  {}", if place == 0 { "signs" } else { "is trusted" });
    }
    let word = |has_gone_over: bool| if has_gone_over { "yes" } else { "no" }.to_owned();
    let mut lines = vec![["WHO", "NAME", "GONE OVER"].map(str::to_owned).to_vec()];
    let server = |server: &Server| {
        let name = if server.address.is_empty() { &server.id } else { &server.address };
        vec!["server".to_owned(), name.clone(), word(server.has_gone_over)]
    };
    lines.extend(status.servers.iter().map(server));
    lines.extend(status.nodes.iter().map(|node| vec!["node".into(), node.name.clone(), word(node.has_gone_over)]));
    print!("{}", get::aligned(&lines));
}

impl Status {
    /// Those who have not gone over.
    fn behind(&self) -> Vec<String> {
        let servers = self.servers.iter().filter(|server| !server.has_gone_over);
        let nodes = self.nodes.iter().filter(|node| !node.has_gone_over);
        let servers = servers.map(|server| format!("server {}", server.address));
        servers.chain(nodes.map(|node| format!("node {}", node.name))).collect()
    }
}
