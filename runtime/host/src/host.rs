//! The host: an engine, a pool of instances, threads for guests, and the code compiled so far.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::artifact::{Digest, Linked, Source};
use crate::cache::Cache;
use crate::config::Config;
use crate::guest::Guest;
use crate::ledger::Ledger;
use crate::meter::Metered;
use crate::prepare::{self, PrepareError};
use crate::shares::Shares;
use crate::threads::Threads;
use crate::ticker::Ticker;
use crate::workload::{self, Workload};
use crate::{engine, link};

/// Runs components; a clone is the same host, which ends when the last workload and clone are gone.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine does not run here, or its pool does not fit in the address space.
    #[error("failed to start the wasm engine: {0}")]
    Engine(String),
    /// The directory for compiled code is not usable.
    #[error("failed to open the compile cache {dir}")]
    Cache {
        /// The directory.
        dir: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No threads.
    #[error("failed to start the threads for guests")]
    Threads(#[source] io::Error),
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    /// How many instances of the usual size the engine has room for.
    pub(crate) pool: u32,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Cache,
    /// Held while compiling: one at a time.
    pub(crate) compiling: tokio::sync::Mutex<()>,
    /// What is prepared now, so that all who run a component share its code.
    pub(crate) prepared: Prepared,
    /// Places for instances.
    pub(crate) places: Arc<Shares>,
    /// Files that guests may have open.
    pub(crate) files: Arc<Shares>,
    linker: OnceLock<Linker<Guest>>,
    threads: Threads,
}

/// The prepared components that somebody runs, and the places of those that nobody runs any more.
#[derive(Default)]
pub(crate) struct Prepared(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<Weak<workload::Shared>>>>>);

// === impl Host ===

impl Host {
    /// Starts a host; cheap, because nothing is compiled, linked or touched before it is needed.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let (engine, pool) = engine::engine(&config).map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let cache = Cache::open(&config.cache_dir, &engine::compatibility(&engine))
            .map_err(|source| StartError::Cache { dir: config.cache_dir.display().to_string(), source })?;
        let ticker = Ticker::start(&engine, config.tick).map_err(StartError::Threads)?;
        let threads = Threads::start(config.guest_threads).map_err(StartError::Threads)?;
        let compiling = tokio::sync::Mutex::new(());
        let (places, files) = (Shares::new(pool as usize), Shares::new(config.files_max));
        let (places, files) = (Arc::new(places), Arc::new(files));
        let (linker, prepared) = (OnceLock::new(), Prepared::default());
        let shared =
            Shared { config, engine, pool, ticker, cache, compiling, prepared, places, files, linker, threads };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes a component ready to run: compiled (once ever, by digest), mapped and linked.
    pub async fn prepare(&self, digest: Digest, source: impl Into<Source>) -> Result<Workload, PrepareError> {
        self.prepare_linked(digest, source, Vec::new()).await
    }

    /// The same for a component whose imports others satisfy, the first that exports a thing before the next. Together they are
    /// one component, compiled once ever, by the [`joint`](Digest::joint) digest.
    pub async fn prepare_linked(
        &self,
        digest: Digest,
        source: impl Into<Source>,
        links: Vec<Linked>,
    ) -> Result<Workload, PrepareError> {
        prepare::prepare(self.shared.clone(), digest, source.into(), links).await
    }

    /// Does work that a guest causes where guests run, and has the guest's account pay for it. It is the guest who waits until that
    /// is even.
    pub fn attend(&self, ledger: Ledger, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.shared.guests().spawn(Metered::work(work, ledger, self.shared.threads.behind().clone()))
    }

    /// What is kept compiled: of which component, how large it is, and when it was compiled.
    pub fn compiled(&self) -> io::Result<Vec<(Digest, u64, std::time::SystemTime)>> {
        self.shared.cache.list()
    }

    /// Forgets what was compiled from a component; workloads made of it go on.
    pub fn forget(&self, digest: Digest) -> io::Result<()> {
        self.shared.prepared.forget(&digest);
        self.shared.cache.remove(&digest)
    }
}

// === impl Prepared ===

impl Prepared {
    /// Where a component is while it is prepared. Whoever holds the lock prepares it; the others find what came of it.
    pub(crate) fn place(&self, digest: Digest) -> Arc<tokio::sync::Mutex<Weak<workload::Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().clone()
    }

    fn forget(&self, digest: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

// === impl Shared ===

impl Shared {
    /// Everything guests can import; built when the first one asks.
    pub(crate) fn linker(&self) -> wasmtime::Result<&Linker<Guest>> {
        if let Some(linker) = self.linker.get() {
            return Ok(linker);
        }
        let linker = link::linker(&self.engine)?;
        Ok(self.linker.get_or_init(|| linker))
    }

    /// Where guests are run.
    pub(crate) fn guests(&self) -> &Handle {
        self.threads.front()
    }

    /// A guest that pays from this account.
    pub(crate) fn metered<T>(&self, guest: impl Future<Output = T> + Send + 'static, ledger: Ledger) -> Metered<T> {
        Metered::new(guest, ledger, self.threads.behind().clone())
    }
}
