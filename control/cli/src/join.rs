//! `coracle agent`: a node of a cluster that is controlled elsewhere; and the token that lets it in.
//!
//! A token is the fingerprint of the cluster's authority and a secret, joined by a dot: the one lets the node know the server,
//! the other the server know the node. The certificate that comes of it is kept, so a token is needed once. A machine has a number of
//! its own before it asks, so that it may ask again when an answer was lost.
//!
//! What the node is told is kept as well. If no server answers when it starts, it starts with that, and joins when one does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::Kept;
use anyhow::{Context, bail};
use api::Revision;
use api::level::Levels;
use api::references::{PROOFS_LABEL, PROOFS_NAMESPACE};
use api::{authority, kinds, storage};
use client::{Client, Identity, ListOptions, Target, Watched};
use network::tunnel::Relay;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use state::Snapshot;
use tokio::sync::watch;
use trust::Trust;

use crate::args;
use crate::data_dir::{self, DataDir};
use crate::node::{self, Node};
use crate::papers::{self, Papers};
use crate::pki::{self, Credential};
use crate::progress::{Progress, Step};
use crate::running::{Running, asked_to_end};
use crate::{servers, tunnel};

/// The kinds of which a node reads every object. What its pods use of others it reads one by one; the API allows no more.
const KINDS: [api::GroupKind; 8] = [
    kinds::NODE,
    kinds::POD,
    kinds::SERVICE,
    kinds::ENDPOINT_SLICE,
    kinds::INGRESS,
    kinds::INGRESS_CLASS,
    kinds::NAMESPACE,
    kinds::NETWORK_POLICY,
];

/// A server that is there has answered by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The number by which the cluster knows a machine that asks twice, made if there is none.
fn machine(data: &DataDir) -> anyhow::Result<String> {
    let file = data.join("machine");
    if !file.exists() {
        data_dir::write(&file, &uuid::Uuid::new_v4().simple().to_string())?;
    }
    let number = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(number.trim().to_owned())
}

pub(crate) async fn run(args: args::Agent) -> anyhow::Result<()> {
    let progress = Progress::new();
    let data = DataDir::take(data_dir::path(args.machine.data_dir.as_deref())?)?;
    let name = node::name(args.machine.node_name.as_deref())?;
    let step = progress.step("join");
    let Admitted { credential, authority } = admitted(&data, &args.server, args.token.as_deref(), &name).await?;
    let (papers, trust) = (Papers::new("node", &credential)?, Trust::new(&authority)?);
    let target = Target::trusting(&args.server, trust.clone(), Identity::Papers(papers.clone()))?;
    let given = target.server();
    let client = Client::new(target);
    client.learn(servers::kept(&data));
    step.done(&args.server);

    let step = progress.step("node");
    let mut mirror = Running::new();
    papers.keep_in(&mut mirror, renewal(client.clone(), papers.clone(), trust.clone(), &data));
    let (publish, mut view) = watch::channel(Snapshot::default());
    // Whoever comes to prove a host may come to this node's edge.
    let proofs = Watched {
        kind: kinds::SECRET,
        namespace: Some(PROOFS_NAMESPACE.into()),
        options: ListOptions { labels: Some(PROOFS_LABEL.into()), fields: None },
    };
    // Volumes that lie here are seen to even when no pod uses them any more.
    let own = Watched {
        kind: kinds::PERSISTENT_VOLUME,
        namespace: None,
        options: ListOptions { labels: Some(format!("{}={name}", storage::NODE_LABEL)), fields: None },
    };
    let servers = Watched {
        kind: kinds::ENDPOINTS,
        namespace: Some("default".into()),
        options: ListOptions { labels: None, fields: Some("metadata.name=kubernetes".into()) },
    };
    let trusted = Watched {
        kind: kinds::CONFIG_MAP,
        namespace: Some(authority::NAMESPACE.into()),
        options: ListOptions { labels: None, fields: Some(format!("metadata.name={}", authority::PUBLISHED)) },
    };
    let kept = Watched { kind: kinds::VOLUME_SNAPSHOT_CONTENT, ..own.clone() };
    let kinds = KINDS.map(Watched::all).into_iter().chain([proofs, own, kept, servers, trusted]).collect();
    let used = {
        let name = name.clone();
        move |world: &Snapshot| world.used_on(&name)
    };
    let begun = publish.clone();
    let mirroring = client::mirror(client.clone(), kinds, used, publish, mirror.stopping());
    mirror.start("mirror", async move {
        mirroring.await;
        anyhow::Ok(())
    });
    let kept = data.join("kept");
    let kept = Kept::open(&kept).with_context(|| format!("cannot use {}", kept.display()))?;
    first_world(&kept, &name, &begun, &mut view, &step).await?;
    drop(begun);
    let (told, directory) = (client.clone(), data.path().to_owned());
    let tell = move |known: Vec<String>| {
        servers::keep(&directory, &known);
        told.learn(known);
    };
    mirror.start("servers", servers::follow(view.clone(), tell, mirror.stopping()));
    let (own, trusted, teller) = (papers.clone(), trust.clone(), client.clone());
    let following = crate::authority::follow(name.clone(), own, trusted, teller, view.clone(), mirror.stopping());
    mirror.start("change of authorities", following);
    let api = tokio::net::lookup_host(client.server()).await.ok().and_then(|mut found| found.next());
    let api = api.or_else(|| kept.server()).with_context(|| format!("{} has no address", client.server()))?;
    kept.keep_server(api);
    let listener = node::listen("listen", args.listen).await?;
    let dialled = listener.local_addr()?;
    let over = servers::over(view.clone(), vec![given], None);
    let identity = network::tunnel::Identity::new(name.as_str(), papers, trust.clone());
    let door = tunnel::door(identity, view.clone(), Relay::Servers, over, dialled, Some(listener));
    let options = node::Options {
        data: &data,
        name: &name,
        machine: &args.machine,
        defaults: &node::MACHINE,
        api,
        trust,
        door,
        is_apart: true,
        kept: Some(kept),
    };
    let mut node = Node::start(options, view, client).await?;
    node.addresses.write(&data)?;
    step.done(&name);
    let ended = tokio::select! {
        asked = asked_to_end() => asked.map_err(Into::into),
        error = mirror.failed() => Err(error),
        error = node.failed() => Err(error),
    };
    ended.and(node.stop().await).and(mirror.stop().await)
}

/// Waits for the world: as the server tells it, or as it was last told where no server answers.
async fn first_world(
    kept: &Kept,
    name: &str,
    begun: &watch::Sender<Snapshot>,
    view: &mut watch::Receiver<Snapshot>,
    step: &Step,
) -> anyhow::Result<()> {
    if let Ok(told) = tokio::time::timeout(ANSWER_WITHIN, view.changed()).await {
        return told.context("the mirror ended");
    }
    if let Some(world) = kept.world() {
        let pods = world.pods_on(name).count();
        let is_first = begun.send_if_modified(|known| {
            let is_first = known.revision() == Revision::ZERO;
            if is_first {
                *known = world;
            }
            is_first
        });
        if is_first {
            kept.begin_alone();
            step.warn(&format!("no server answers: it starts with what it was last told, {pods} pods of its own"));
        }
    } else {
        step.warn("no server answers, and it has been told nothing before: it waits");
    }
    view.changed().await.context("the mirror ended")
}

/// What a machine has that is let in.
struct Admitted {
    credential: Credential,
    /// The cluster's authority, PEM.
    authority: String,
}

/// The file that holds this node's certificate and its key, one after the other,
const PAPERS: &str = "node.pem";
/// and the one that says who vouches for servers.
const AUTHORITIES: &str = "node-ca.crt";

/// Asks for the next certificate of this node, and keeps it. With it comes who is trusted from now on, and that is kept first: whoever
/// shows a certificate of another authority trusts it, too.
fn renewal(client: Client, papers: Arc<Papers>, trust: Arc<Trust>, data: &DataDir) -> papers::Renew {
    let files = [AUTHORITIES, PAPERS].map(|file| data.join(file));
    Box::new(move || {
        let (client, papers, trust, [ca_file, file]) = (client.clone(), papers.clone(), trust.clone(), files.clone());
        Box::pin(async move {
            let (key, request) = pki::node_request()?;
            let body = json!({"csr": request}).to_string();
            let answer = client.send(http::Method::POST, "/coracle/v1/renew", Some("application/json"), body).await?;
            let Joined { certificate, ca } = serde_json::from_slice(&answer)?;
            if *trust.pem() != *ca {
                let unusable = "whom the server says to trust cannot be used";
                Trust::new(&ca).context(unusable)?;
                data_dir::write(&ca_file, &ca)?;
                trust.replace(&ca).context(unusable)?;
            }
            data_dir::write(&file, &format!("{certificate}{key}"))?;
            papers.replace(&Credential { certificate, key })?;
            // Who was away for so long that his certificate was over is somebody again.
            client.redial().await;
            Ok(())
        })
    })
}

/// This node's certificate: the one kept, or one got for the token.
async fn admitted(data: &DataDir, server: &str, token: Option<&str>, name: &str) -> anyhow::Result<Admitted> {
    let [ca, papers] = [AUTHORITIES, PAPERS].map(|file| data.join(file));
    let read = |file: &Path| std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    if !papers.exists() {
        let Some(token) = token else {
            bail!("this node is not in the cluster yet: give it a --token; `coracle token` on the server prints one")
        };
        let (fresh_key, request) = pki::node_request()?;
        let body = json!({"nodeName": name, "csr": request, "machine": machine(data)?});
        let joined: Joined =
            ask(server, token, "/coracle/v1/join", &body).await.context("the server did not let this node in")?;
        data_dir::write(&ca, &joined.ca)?;
        data_dir::write(&papers, &format!("{}{fresh_key}", joined.certificate))?;
    }
    // Each reader takes its own part.
    let both = read(&papers)?;
    let credential = Credential { certificate: both.clone(), key: both };
    Ok(Admitted { credential, authority: read(&ca)? })
}

#[derive(Deserialize)]
struct Joined {
    certificate: String,
    ca: String,
}

async fn ask<T: DeserializeOwned>(server: &str, token: &str, path: &str, body: &Value) -> anyhow::Result<T> {
    let client = newcomer(server, token)?;
    let answer = client.send(http::Method::POST, path, Some("application/json"), body.to_string()).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// What makes a server, for a token that says so.
pub(crate) async fn ask_charter(
    data: &DataDir,
    server: &str,
    token: &str,
    levels: Levels,
) -> anyhow::Result<apiserver::Charter> {
    ask(server, token, "/coracle/v1/join/server", &json!({"machine": machine(data)?, "levels": levels})).await
}

/// A client that knows the cluster by the token, and is known by it.
fn newcomer(server: &str, token: &str) -> anyhow::Result<Client> {
    let Some((fingerprint, secret)) = token.trim().split_once('.') else {
        bail!("the token is not complete; `coracle token` prints it")
    };
    let fingerprint = fingerprint.to_owned();
    let recognise = Arc::new(move |certificate: &[u8]| hex::encode(Sha256::digest(certificate)) == fingerprint);
    Ok(Client::new(Target::pinned(server, recognise, Identity::Token(secret.to_owned()))?))
}
