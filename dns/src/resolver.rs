//! Names looked up in process, as a pod would look them up.
//!
//! The resolver holds the zone that was published last and the cache of what the rest of the world said; the server answers
//! out of the same two. A pod's question about the cluster is a look into a table, with no socket and no wire between.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::kinds;
use arc_swap::{ArcSwap, Guard};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use state::Snapshot;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::ask::{Ask, Server};
use crate::asker::Asker;
use crate::forward::Forwarder;
use crate::machine::Machine;
use crate::reply::{self, Reply};
use crate::tables::Tables;
use crate::zone::{Pods, SOURCES, View};
use crate::{Authority, Error};

/// Servers that pods have chosen themselves, each with a cache; beyond this the others are forgotten.
const CHOSEN_MAX: usize = 64;
/// How often it is looked whether questions go round in circles.
const LOOK_FOR_LOOPS: Duration = Duration::from_secs(600);
/// The least time between two zones: answers may be cached for a thousand times as long.
const PAUSE: Duration = Duration::from_millis(5);

/// What looks up names: for the pods in this process, and for the DNS server.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    authority: Authority,
    machine: Machine,
    tables: ArcSwap<Tables>,
    forwarder: Option<Forwarder>,
    /// What names end in that only this resolver asks for: a question for one, coming in, has gone round.
    probe: Name,
    is_probe_back: AtomicBool,
    /// Whether those who are asked ask back, directly or not.
    is_looping: AtomicBool,
    /// By server, for pods that choose their own.
    chosen: Mutex<HashMap<IpAddr, Forwarder>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No server could know it.
    #[error("{name:?} is not a name")]
    Invalid {
        /// What was asked for.
        name: String,
    },
    /// All who could know it say that it has none.
    #[error("{name} has no address")]
    NoAddress {
        /// What was asked for.
        name: String,
    },
    /// Nobody who could know it answered; later somebody may.
    #[error("nobody could say the address of {name}")]
    Failed {
        /// What was asked for.
        name: String,
    },
}

// === impl Resolver ===

impl Resolver {
    /// Looks names up in the zone of `view`, and for the rest asks whom the machine asks.
    pub fn new(authority: Authority, machine: Machine, view: &Snapshot) -> Result<Self, Error> {
        let tables = ArcSwap::from_pointee(Tables::new(&authority, view, &Pods::of(view))?);
        let forwarder = Forwarder::new(&machine.servers).map_err(Error::Upstreams)?;
        let inner = Inner {
            authority,
            machine,
            tables,
            forwarder,
            probe: probe(),
            is_probe_back: AtomicBool::new(false),
            is_looping: AtomicBool::new(false),
            chosen: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps the zone that of the latest snapshot, for as long as it is polled.
    pub async fn follow(&self, mut view: watch::Receiver<Snapshot>) -> Error {
        let (mut pods, mut before) = (Pods::default(), Snapshot::default());
        let mut tables: Option<Arc<Tables>> = None;
        loop {
            let start = Instant::now();
            let seen = view.borrow_and_update().clone();
            pods.follow(&before, &seen);
            let is_same = SOURCES.iter().all(|kind| seen.agrees(&before, *kind));
            let next = match tables.filter(|_| is_same) {
                Some(tables) => Ok(tables.when_pods_are(&pods)),
                None => Tables::new(&self.inner.authority, &seen, &pods),
            };
            let next = match next {
                Ok(next) => Arc::new(next),
                Err(error) => return error,
            };
            self.inner.tables.store(next.clone());
            (tables, before) = (Some(next), seen);
            // However often the world changes, most of the time is left for answers.
            sleep(PAUSE.max(4 * start.elapsed())).await;
            if changed(&mut view, &before).await.is_none() {
                // Nobody publishes any more; what was last true is still the best answer.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Looks now and then whether what is forwarded comes back, and forwards nothing while it does.
    pub(crate) async fn watch_for_loops(&self) {
        let Some(forwarder) = &self.inner.forwarder else { return };
        for number in 0u64.. {
            self.inner.is_probe_back.store(false, Ordering::Relaxed);
            // A name that nobody has remembered from the last time.
            if let Ok(name) = self.inner.probe.prepend_label(format!("p{number}").as_bytes()) {
                let _ = forwarder.lookup(&name, RecordType::A).await;
            }
            let is_back = self.inner.is_probe_back.load(Ordering::Relaxed);
            if self.inner.is_looping.swap(is_back, Ordering::Relaxed) != is_back {
                let servers = &self.inner.machine.servers;
                if is_back {
                    tracing::error!(?servers, "name servers ask back: nothing is forwarded");
                } else {
                    tracing::info!(?servers, "name servers ask back no more");
                }
            }
            sleep(LOOK_FOR_LOOPS).await;
        }
    }

    /// Whom to ask about the rest of the world.
    fn forwarder(&self) -> Option<&Forwarder> {
        self.inner.forwarder.as_ref().filter(|_| !self.inner.is_looping.load(Ordering::Relaxed))
    }

    /// How `pod`, which has these addresses, looks up names on this machine.
    pub fn ask_for(&self, pod: &Pod, addresses: &[IpAddr]) -> Ask {
        let Authority { domain, nameservers, .. } = &self.inner.authority;
        Ask::for_pod(pod, addresses, domain, nameservers, &self.inner.machine)
    }

    /// The addresses of a name, as the asker completes it: those of version 4 first. It needs tokio to be polled.
    pub fn lookup(
        &self,
        name: &str,
        ask: &Ask,
    ) -> impl Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + use<> {
        let known = ask.known(name);
        let candidates = ask.candidates(name);
        let (servers, patience) = (ask.servers.clone(), ask.patience);
        let (this, name) = (self.clone(), name.to_owned());
        async move {
            if !known.is_empty() {
                return Ok(known);
            }
            let mut is_sure = true;
            for candidate in candidates? {
                match this.addresses(&candidate, &servers, patience).await {
                    Some(addresses) if addresses.is_empty() => {}
                    Some(addresses) => return Ok(addresses),
                    None => is_sure = false,
                }
            }
            Err(if is_sure { LookupError::NoAddress { name } } else { LookupError::Failed { name } })
        }
    }

    /// What the first server that answers says about a whole name. None: nobody does.
    async fn addresses(&self, name: &Name, servers: &[Server], patience: Duration) -> Option<Vec<IpAddr>> {
        for server in servers {
            let both = async {
                let (v4, v6) = (self.ask(*server, name, RecordType::A), self.ask(*server, name, RecordType::AAAA));
                tokio::join!(v4, v6)
            };
            let Ok((v4, v6)) = timeout(patience, both).await else { continue };
            let addresses: Vec<IpAddr> = v4.answers.iter().chain(&v6.answers).filter_map(address).collect();
            let is_answered = |reply: &Reply| matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain);
            if !addresses.is_empty() || (is_answered(&v4) && is_answered(&v6)) {
                return Some(addresses);
            }
        }
        None
    }

    async fn ask(&self, server: Server, name: &Name, wanted: RecordType) -> Reply {
        match server {
            Server::Cluster => self.reply(Asker { view: View::Pods, is_served: true }, name, wanted).await,
            Server::Zone => self.reply(Asker { view: View::Pods, is_served: false }, name, wanted).await,
            Server::Machine => reply::from_outside(self.forwarder(), name, wanted).await,
            Server::At(address) => reply::from_outside(self.chosen(address).as_ref(), name, wanted).await,
        }
    }

    /// What the cluster's server says.
    pub(crate) async fn reply(&self, asker: Asker, name: &Name, wanted: RecordType) -> Reply {
        if self.inner.probe.zone_of(name) {
            self.inner.is_probe_back.store(true, Ordering::Relaxed);
            return Reply::no(ResponseCode::Refused);
        }
        let forwarder = self.forwarder().filter(|_| asker.is_served);
        let tables = self.inner.tables.load_full();
        reply::reply(&tables.seen_by(asker.view).zone, forwarder, name, wanted).await
    }

    pub(crate) fn tables(&self) -> Guard<Arc<Tables>> {
        self.inner.tables.load()
    }

    /// Whether anybody is asked about the rest of the world.
    pub(crate) fn has_forwarder(&self) -> bool {
        self.inner.forwarder.is_some()
    }

    /// The way to a server that a pod chose. None: pods have no way there through the node, be it the node itself or
    /// an address that only the pod network knows.
    fn chosen(&self, address: IpAddr) -> Option<Forwarder> {
        let is_own = self.inner.authority.networks.iter().any(|network| network.contains(&address));
        if is_own || !is_reachable(address) {
            return None;
        }
        let mut chosen = self.inner.chosen.lock();
        if !chosen.contains_key(&address) && chosen.len() >= CHOSEN_MAX {
            chosen.clear();
        }
        if let Some(known) = chosen.get(&address) {
            return Some(known.clone());
        }
        let forwarder = Forwarder::new(&[SocketAddr::new(address, 53)]).ok().flatten()?;
        chosen.insert(address, forwarder.clone());
        Some(forwarder)
    }
}

/// A name that does not exist (RFC 6761; `invalid` would not even be asked for), and that no other process makes up.
fn probe() -> Name {
    let text = format!("x{:016x}.coracle.test.", RandomState::new().hash_one(0));
    Name::from_ascii(text).expect("letters, digits and dots are a name")
}

/// Waits for a snapshot in which something is different that zones are made of. None: there will be none.
async fn changed(view: &mut watch::Receiver<Snapshot>, before: &Snapshot) -> Option<()> {
    loop {
        view.changed().await.ok()?;
        let now = view.borrow_and_update();
        if !SOURCES.iter().chain([&kinds::POD]).all(|kind| now.agrees(before, *kind)) {
            return Some(());
        }
    }
}

/// Whether an address is one that pods may ask, however it is written.
fn is_reachable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.octets()[0] == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            let is_compatible = matches!(v6.segments(), [0, 0, 0, 0, 0, 0, _, _]);
            !(is_compatible || v6.is_unicast_link_local() || v6.is_multicast())
        }
    }
}

fn address(record: &hickory_proto::rr::Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(v6.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
