//! The door: Kubernetes-compatible HTTP over TLS, the cluster's image registry, and the links to nodes.
//!
//! A request is text outside and a [`target`] inside; what it asks for is decided by pure functions over a
//! [`Snapshot`](state::Snapshot), and one call of [`Store::propose`] makes it so. Everything that is true of a kind comes from
//! the catalog of `api`; nothing here knows a pod from a service but `claims`, `complete`, `deletion`, `logs` and `seed`.
//!
//! Time and chance come in through [`Config`]; a long-lived part ends when the server's shutdown does.

mod admission;
mod answer;
mod audit;
mod authentication;
mod authority;
mod authorization;
mod backup;
mod body;
mod certificates;
mod claims;
mod complete;
mod connect;
mod containers;
mod custom_metrics;
mod deletion;
mod discovery;
mod encryption;
mod envelope;
mod eviction;
mod fairness;
mod identity;
mod impersonation;
mod join;
mod keyvalue;
mod link;
mod list;
mod logs;
mod measuring;
mod members;
mod metrics;
mod negotiate;
mod openapi;
mod patch;
mod present;
mod query;
mod registry;
mod resize;
mod rest;
mod review;
mod routes;
mod seed;
mod selection;
mod serve;
mod spdy;
#[doc(hidden)]
pub mod strangers;
mod surface;
mod target;
mod tokens;
mod turns;
mod verb;
mod watch;
mod websocket;
mod whereabouts;

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::level::Told;
use api::pod_spec::Outages;
use jiff::Timestamp;
use store::{ProposeError, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use admission::Gate;
pub use audit::{Audit, AuditLog, Policy as AuditPolicy, PolicyError as AuditPolicyError};
pub use authority::{Asked as AuthorityChange, Rotation};
pub use backup::{
    Backup, Backups, CHARTER_FILE, Extent as BackupExtent, IMAGES_FOLDER, Images as BackupImages,
    Volumes as BackupVolumes,
};
pub use connect::PORT_PROTOCOL;
pub use identity::{BOOTSTRAP_SERVERS, MASTERS, NODE_USER, NODES, SERVER_USER, SERVERS};
pub use join::{Authorities, Charter, Join, Sign, TellCharter};
pub use link::{Links, PROTOCOL as LINK_PROTOCOL, Patience};
pub use registry::Siblings;
pub use seed::{INGRESS_CLASS, KUBERNETES_ADDRESS, seed};
pub use serve::{Protocol, Speak, Speaker, Tls};
pub use tokens::{Issuer, KeyError};
use turns::Turns;

use admission::Admission;
use audit::Diary;
use authorization::Authorizer;
use fairness::Fairness;
use metrics::Metrics;
use registry::Images;
use surface::{Surface, Surfaces};
use tokens::Tokens;
use watch::Encoded;

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Gives a number that nobody foresees.
pub type Entropy = Arc<dyn Fn() -> u128 + Send + Sync>;

/// The Kubernetes version whose API is spoken here.
pub const VERSION: &str = "v1.33.0+coracle";

/// Everything the API server needs to know.
pub struct Config {
    /// What the server shows, and whom it trusts.
    pub tls: Tls,
    /// What time it is.
    pub clock: Clock,
    /// Chance, for uids and generated names.
    pub entropy: Entropy,
    /// Where the image registry keeps its files.
    pub registry_dir: PathBuf,
    /// How machines join; none if they cannot.
    pub join: Option<Join>,
    /// What makes a server of the cluster, which goes sealed into its backups; without it none are taken.
    pub charter: Option<TellCharter>,
    /// Has another authority take the place of the one there is; without it the authority stays.
    pub rotation: Option<Arc<dyn Rotation>>,
    /// Signs the tokens of service accounts.
    pub accounts: Arc<Issuer>,
    /// What is written about requests; nothing if none.
    pub audit: Option<Audit>,
    /// How soon a node is given up of which nothing is heard.
    pub patience: Patience,
    /// How long new pods stay on a lost node.
    pub outages: Outages,
    /// What nodes may speak on the same port beside HTTP.
    pub protocols: Vec<Protocol>,
    /// The other servers, as far as images go; none where there can be no other.
    pub siblings: Option<Arc<dyn Siblings>>,
    /// What this server is and speaks.
    pub told: Told,
}

/// Why the API server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificates do not work.
    #[error("the certificates cannot be used: {reason}")]
    Tls {
        /// What is wrong with them.
        reason: String,
    },
    /// The registry's directory does not work.
    #[error("failed to open the image registry in {}", path.display())]
    Registry {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The audit log does not work.
    #[error("failed to open the audit log")]
    Audit(#[source] io::Error),
    /// The listener does not work.
    #[error("failed to use the listener")]
    Listener(#[source] io::Error),
}

/// What all requests share.
pub(crate) struct Door {
    /// Made at each start: whoever waits for a server to be started anew knows it by this.
    pub(crate) life: String,
    pub(crate) told: Told,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) join: Option<Join>,
    pub(crate) charter: Option<TellCharter>,
    pub(crate) rotation: Option<Arc<dyn Rotation>>,
    pub(crate) tokens: Tokens,
    pub(crate) diary: Option<Diary>,
    pub(crate) images: Images,
    pub(crate) siblings: Option<Arc<dyn Siblings>>,
    pub(crate) links: Arc<Links>,
    pub(crate) patience: Patience,
    pub(crate) outages: Outages,
    pub(crate) admission: Admission,
    pub(crate) authorizer: Authorizer,
    pub(crate) encoded: Arc<Encoded>,
    pub(crate) surfaces: Surfaces,
    pub(crate) metrics: Metrics,
    pub(crate) fairness: Fairness,
    pub(crate) turns: Turns,
    /// The address clients are told in legacy discovery.
    pub(crate) address: String,
    pub(crate) seeded: AtomicBool,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// A follower waits so long between looks at whether the seed has come.
const SEED_PAUSE_MS: u64 = 200;

/// A server that is ready to serve.
pub struct Server {
    door: Arc<Door>,
    tls: Tls,
    protocols: Vec<Protocol>,
    listener: TcpListener,
    /// Ends the audit log, which is written by that task.
    written: CancellationToken,
    writing: Option<JoinHandle<()>>,
}

/// Opens a server and serves until `shutdown`.
pub async fn run(
    config: Config,
    store: Store,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::open(config, store, listener).await?.serve(shutdown).await
}

/// Sees to it that the objects every cluster has are there.
async fn sow(door: Arc<Door>) {
    while !door.closing.is_cancelled() {
        let txn = seed(&door.store.snapshot(), (door.clock)(), || door.uid());
        if txn.is_empty() {
            return door.seeded.store(true, Ordering::Release);
        }
        match door.store.propose(txn).await {
            Ok(_) | Err(ProposeError::Conflict(_)) => {}
            Err(ProposeError::Closed) => return debug!("the store closed before it was seeded"),
            Err(error @ ProposeError::NotLeader { .. }) => {
                debug!(%error, "not seeded yet");
                tokio::select! {
                    () = door.closing.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(SEED_PAUSE_MS)) => {}
                }
            }
        }
    }
}

// === impl Server ===

impl Server {
    /// Opens what the server writes to: the image registry and the audit log.
    pub async fn open(config: Config, store: Store, listener: TcpListener) -> Result<Self, ServeError> {
        let images = Images::open(config.registry_dir.clone()).await;
        let images = images.map_err(|source| ServeError::Registry { path: config.registry_dir, source })?;
        let metrics = Metrics::new();
        let (diary, scribe) = match config.audit {
            None => (None, None),
            Some(audit) => {
                let opened = audit::open(&audit.log, metrics.audit.clone()).await;
                let (recorder, scribe) = opened.map_err(ServeError::Audit)?;
                (Some(Diary { policy: audit.policy, recorder }), Some(scribe))
            }
        };
        let written = CancellationToken::new();
        let writing = scribe.map(|scribe| tokio::spawn(scribe.run(written.clone())));
        let closing = CancellationToken::new();
        let door = Arc::new(Door {
            life: uuid::Builder::from_random_bytes((config.entropy)().to_be_bytes()).into_uuid().to_string(),
            told: config.told,
            store,
            clock: config.clock,
            entropy: config.entropy,
            join: config.join,
            charter: config.charter,
            rotation: config.rotation,
            tokens: Tokens::new(config.accounts),
            diary,
            images,
            siblings: config.siblings,
            links: Arc::default(),
            patience: config.patience,
            outages: config.outages,
            admission: Admission::default(),
            authorizer: Authorizer::new(),
            encoded: Arc::new(Encoded::new()),
            surfaces: Surfaces::new(closing.clone()),
            metrics,
            fairness: Fairness::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            turns: Turns::default(),
            address: listener.local_addr().map_err(ServeError::Listener)?.to_string(),
            seeded: AtomicBool::new(false),
            closing,
            tasks: TaskTracker::new(),
        });
        Ok(Self { door, tls: config.tls, protocols: config.protocols, listener, written, writing })
    }

    /// The nodes that can be spoken to.
    pub fn links(&self) -> Arc<Links> {
        self.door.links.clone()
    }

    /// Takes backups of the cluster.
    pub fn backups(&self) -> Backups {
        Backups(self.door.clone())
    }

    /// Rules about what controllers create, as policies and webhooks rule about what clients do.
    pub fn gate(&self) -> Gate {
        Gate(self.door.clone())
    }

    /// Serves until `shutdown`; then watches end, connections are told to go, and what is open gets a moment to finish.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let door = self.door;
        door.tasks.spawn(sow(door.clone()));
        door.tasks.spawn(surface::follow(door.clone()));
        door.tasks.spawn(whereabouts::follow(door.clone()));
        door.tasks.spawn(registry::follow(door.clone()));
        let routes = routes::router(door.clone());
        let served = serve::serve(self.tls, self.listener, routes, self.protocols, door.closing.clone());
        let mut served = std::pin::pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = shutdown => {
                door.closing.cancel();
                served.await
            }
        };
        door.closing.cancel();
        door.tasks.close();
        door.tasks.wait().await;
        self.written.cancel();
        if let Some(writing) = self.writing {
            // Its lines are written, or it says itself why not.
            let _ = writing.await;
        }
        ended
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.door.address).finish_non_exhaustive()
    }
}

// === impl Door ===

impl Door {
    /// A new uid.
    pub(crate) fn uid(&self) -> String {
        uuid::Builder::from_random_bytes((self.entropy)().to_be_bytes()).into_uuid().to_string()
    }

    /// Which kinds are served now, and all that follows from it.
    pub(crate) fn surface(&self) -> Arc<Surface> {
        self.surfaces.of(&self.store.snapshot())
    }

    /// A number to begin a search or a name with.
    pub(crate) fn chance(&self) -> u64 {
        (self.entropy)() as u64
    }

    /// Whether an apply would be taken now.
    pub(crate) async fn is_ready(&self) -> bool {
        if !self.seeded.load(Ordering::Acquire) || self.closing.is_cancelled() {
            return false;
        }
        match self.store.read().await {
            Ok(_) => true,
            Err(error) => {
                warn!(%error, "not ready");
                false
            }
        }
    }
}

// === impl ServeError ===

impl ServeError {
    pub(crate) fn tls(error: impl std::fmt::Display) -> Self {
        Self::Tls { reason: error.to_string() }
    }
}
