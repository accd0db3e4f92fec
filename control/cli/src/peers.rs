//! This server and the others: how it becomes one of them, and how they speak.
//!
//! A server that joins shows a token and is given the cluster's authority; from then on it makes its own certificates, as every
//! server does. Then it asks to be let learn what is stored. Servers speak to each other on the port of the API, chosen by ALPN, each
//! with a certificate that only a server has.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use api::level::Levels;
use apiserver::{Charter, SERVER_USER, SERVERS, Siblings};
use client::{Body, Client, ClientError, Identity, Target};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::json;
use store::{Change, Connection, Peer, Role, Store, Transport};
use trust::Trust;

use crate::authority::Agreed;
use crate::data_dir::{self, DataDir};
use crate::papers::Papers;
use crate::pki::{self, Authority, Credential};
use crate::{join, member};

/// What servers speak to each other is called in ALPN.
const PROTOCOL: &[u8] = b"coracle-store/1";

/// The file that says which server let this one in,
const JOINED: &str = "joined";
/// and the one that says that it was sent away.
const REMOVED: &str = "removed";

/// How often a server asks whether it still is one; who was removed is not told by itself.
const STILL_ONE: Duration = Duration::from_secs(3);

/// Long enough for another leader to be elected, and for a change of members that is under way.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(60);
const ADMISSION_PAUSE: Duration = Duration::from_millis(500);

/// Whoever takes longer is not there, and will not be elected either.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(2);

/// How this server comes to its cluster.
pub(crate) enum Coming {
    /// It founds one, or has.
    Founder,
    /// The server at this URL lets it in, or has.
    Guest(String),
}

/// The way to other servers.
#[derive(Debug)]
struct Wires {
    trust: Arc<Trust>,
    papers: Arc<Papers>,
}

/// The other servers, as far as images go.
#[derive(Debug)]
struct Registries {
    store: Store,
    wires: Wires,
    /// Each keeps its connection.
    clients: Mutex<HashMap<String, Client>>,
}

/// How the server of a data directory comes to its cluster. One that is new to it is given what makes a server.
pub(crate) async fn coming(
    data: &DataDir,
    url: Option<&str>,
    token: Option<&str>,
    levels: Levels,
) -> anyhow::Result<Coming> {
    if data.join(REMOVED).exists() {
        bail!(sent_away(data));
    }
    let (joined, authority) = (data.join(JOINED), data.join("pki").join("ca.crt"));
    let before = match std::fs::read_to_string(&joined) {
        Ok(before) => Some(before.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", joined.display())),
    };
    let Some(url) = url.map(str::to_owned).or_else(|| before.clone()) else { return Ok(Coming::Founder) };
    if before.is_none() && authority.exists() {
        bail!("{} holds a cluster of its own; a server joins with an empty data directory", data.path().display());
    }
    if !authority.exists() {
        let Some(token) = token else {
            bail!(
                "this server is not in the cluster yet: give it a --token; `coracle token create --role server` prints one"
            )
        };
        let charter =
            join::ask_charter(data, &url, token, levels).await.context("the server did not let this one in")?;
        data_dir::write(&joined, &url)?;
        keep(data, &charter)?;
    }
    Ok(Coming::Guest(url))
}

/// The authority's certificate comes last: where it is, all is.
pub(crate) fn keep(data: &DataDir, charter: &Charter) -> anyhow::Result<()> {
    let pki = data.join("pki");
    std::fs::create_dir_all(&pki).with_context(|| format!("cannot make {}", pki.display()))?;
    data_dir::write(&pki.join("sa.key"), &charter.account_key)?;
    if let Some(agreed) = &charter.authorities {
        return pki::keep(&pki, &Agreed::read(&agreed.to_string())?);
    }
    data_dir::write(&pki.join("ca.key"), &charter.ca_key)?;
    data_dir::write(&pki.join("ca.crt"), &charter.ca)
}

/// What this server gives another that is to be one.
pub(crate) fn charter(authority: &Arc<Authority>, data: &DataDir) -> apiserver::TellCharter {
    let (authority, file) = (authority.clone(), data.join("pki").join("sa.key"));
    Arc::new(move || {
        let account_key =
            std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let agreed = authority.agreed();
        let authorities = serde_json::to_value(&agreed).map_err(|error| error.to_string())?;
        Ok(Charter {
            ca: agreed.bundle(),
            ca_key: agreed.signing.key,
            account_key,
            authorities: (agreed.step > 0).then_some(authorities),
        })
    })
}

/// Who the server at this address is to the others.
pub(crate) fn credential(authority: &Authority, address: &str) -> anyhow::Result<Credential> {
    authority.client(&format!("{SERVER_USER}{address}"), &[SERVERS], Timestamp::now())
}

/// The way to the other servers.
pub(crate) fn transport(authority: &Authority, papers: &Arc<Papers>) -> Arc<dyn Transport> {
    Arc::new(wires(authority, papers))
}

/// The images of the other servers.
pub(crate) fn siblings(store: &Store, authority: &Authority, papers: &Arc<Papers>) -> Arc<dyn Siblings> {
    Arc::new(Registries { store: store.clone(), wires: wires(authority, papers), clients: Mutex::default() })
}

fn wires(authority: &Authority, papers: &Arc<Papers>) -> Wires {
    Wires { trust: authority.trust().clone(), papers: papers.clone() }
}

/// What other servers are answered.
pub(crate) fn protocol(store: Store) -> apiserver::Protocol {
    apiserver::Protocol {
        name: PROTOCOL,
        certificate: None,
        who: apiserver::Speaker::Server,
        speak: Arc::new(move |stream, server| {
            let store = store.clone();
            Box::pin(async move {
                if let Err(error) = store.serve(Box::new(stream)).await {
                    tracing::debug!(server, %error, "a server's connection ended");
                }
            })
        }),
    }
}

fn sent_away(data: &DataDir) -> String {
    format!(
        "this server was removed from its cluster, which goes on without it; to join again it needs an empty data directory instead of {}",
        data.path().display()
    )
}

/// What is written where this server was removed, and the words for it.
pub(crate) fn removal(data: &DataDir) -> (PathBuf, String) {
    (data.join(REMOVED), sent_away(data))
}

/// Returns when this server is none of the cluster's any more, with words that say so; or when `shutdown` comes.
pub(crate) async fn remain(
    store: Store,
    authority: Arc<Authority>,
    removed: PathBuf,
    words: String,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let remaining = async {
        while is_member(&store, &authority).await {
            tokio::time::sleep(STILL_ONE).await;
        }
        data_dir::write(&removed, "")?;
        Err(anyhow!(words))
    };
    tokio::select! {
        () = shutdown => Ok(()),
        ended = remaining => ended,
    }
}

/// Whether this server is one of the cluster's, as far as it or the one that leads can tell.
async fn is_member(store: &Store, authority: &Authority) -> bool {
    let (me, cluster) = (store.member(), store.cluster().borrow().clone());
    // Whoever has been told of no members has not been let in yet.
    if cluster.members.is_empty() {
        return true;
    }
    // One that led and was cut off may believe for long that it leads.
    if cluster.leader == Some(me) && matches!(store.leads().await, Ok(true)) {
        return true;
    }
    // That the log here does not tell of this server may mean that it was removed, and as well that it tells no further yet than to
    // when it was let in: the one that leads knows.
    for other in cluster.members.iter().filter(|standing| standing.peer.member != me) {
        let Ok(client) = administrator(&format!("https://{}", other.peer.address), authority) else { continue };
        let Ok(told) = client.get_json::<member::Members>(member::PATH).await else { continue };
        // The others may have heard as little.
        if told.is_told_by_leader() {
            return told.has(&me.to_string());
        }
    }
    true
}

fn administrator(url: &str, authority: &Authority) -> anyhow::Result<Client> {
    let administrator = authority.administrator(Timestamp::now())?;
    let identity = Identity::Certificate { certificate: administrator.certificate, key: administrator.key };
    Ok(Client::new(Target::trusting(url, authority.trust().clone(), identity)?))
}

/// Has the cluster let this server learn what is stored, unless it does already.
pub(crate) async fn be_admitted(store: &Store, url: &str, authority: &Authority, address: &str) -> anyhow::Result<()> {
    let me = store.member();
    // Of one that was removed the log tells of others; it is seen to elsewhere.
    if !store.cluster().borrow().members.is_empty() {
        return Ok(());
    }
    let client = administrator(url, authority)?;
    let asked = json!({"change": "add", "id": me.to_string(), "address": address}).to_string();
    let asking = async {
        loop {
            let answer = client.send(http::Method::POST, member::PATH, Some("application/json"), asked.clone()).await;
            let Err(error) = answer else { return };
            // It was one all the time, and only now has read so in its log.
            if store.cluster().borrow().get(me).is_some() {
                return;
            }
            tracing::warn!(%error, "not yet a server of the cluster");
            tokio::time::sleep(ADMISSION_PAUSE).await;
        }
    };
    tokio::time::timeout(ADMISSION_PATIENCE, asking).await.with_context(|| format!("{url} did not let this server in"))
}

/// Has another server lead before this one goes, so that nobody has to find out by waiting.
pub(crate) async fn hand_over(store: &Store) {
    let cluster = store.cluster().borrow().clone();
    if cluster.leader != Some(store.member()) {
        return;
    }
    let others = cluster.members.iter().filter(|standing| standing.role == Role::Voter);
    for other in others.map(|standing| standing.peer.member).filter(|member| *member != store.member()) {
        let handing = store.change(Change::Lead(other));
        if matches!(tokio::time::timeout(HANDOVER_PATIENCE, handing).await, Ok(Ok(()))) {
            return;
        }
    }
}

impl Wires {
    fn target(&self, address: &str) -> Result<Target, ClientError> {
        let identity = Identity::Papers(self.papers.clone());
        Target::trusting(&format!("https://{address}"), self.trust.clone(), identity)
    }
}

impl Siblings for Registries {
    fn servers(&self) -> Vec<String> {
        let cluster = self.store.cluster().borrow().clone();
        let others = cluster.members.iter().filter(|standing| standing.peer.member != self.store.member());
        others.map(|standing| standing.peer.address.clone()).collect()
    }

    fn get(&self, server: &str, path: String) -> BoxFuture<'static, Option<Body>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.get(server).cloned();
        let client = known.or_else(|| {
            let client = Client::new(self.wires.target(server).ok()?);
            clients.insert(server.into(), client.clone());
            Some(client)
        });
        Box::pin(async move {
            let request = http::Request::get(path).body(client::no_body()).ok()?;
            let answer = client?.request(request).await.ok()?;
            answer.status().is_success().then(|| answer.into_body().map_err(Into::into).boxed_unsync())
        })
    }
}

impl Transport for Wires {
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        let target = self.target(&peer.address);
        Box::pin(async move {
            let stream = target.map_err(io::Error::other)?.dial(PROTOCOL).await.map_err(io::Error::other)?;
            // An end that knows nothing of this agrees to nothing.
            if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
                return Err(io::Error::other("it does not speak the protocol of servers"));
            }
            Ok(Box::new(stream) as Connection)
        })
    }
}
