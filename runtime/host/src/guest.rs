//! One instance's side of the host: what its imports see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::blobs::{Blobs, BlobsView};
use crate::files::{self, FilesView};
use crate::keyvalue::{Buckets, KeyValueView};
use crate::ledger::Account;
use crate::logging::LoggingView;
use crate::outside::{Hooks, Outside};
use crate::settings::SettingsView;
use crate::sink::Sink;
use crate::sockets::{Sockets, SocketsView};
use crate::spec::{Mode, Spec};
use crate::stdio::{Output, Stdin};
use crate::ticker::{Ticker, Ticking};

/// The state of a store.
pub(crate) struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    sockets: Sockets,
    limits: files::Limits,
    buckets: Arc<dyn Buckets>,
    settings: Arc<[(String, String)]>,
    log: Arc<dyn Sink>,
    blobs: Blobs,
    account: Account,
    _ticking: Ticking,
}

/// Whether an instance was refused memory, known also after it is gone.
#[derive(Clone)]
pub(crate) struct MemoryRefusal(Arc<AtomicBool>);

/// Streams, requests, headers, files a guest may hold at once, its sockets not counted: they live in the host's memory,
/// which its limit does not count.
const HANDLES_MAX: usize = 10_000;

/// A socket, its two streams, and what waits for each of them.
const HANDLES_PER_SOCKET: usize = 6;

// === impl Guest ===

impl Guest {
    /// A store for one instance, with everything it was given and nothing else.
    pub(crate) fn store(
        engine: &Engine,
        ticker: &Ticker,
        spec: &Spec,
        stdin: Stdin,
        outside: Arc<dyn Outside>,
    ) -> wasmtime::Result<Store<Guest>> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX + spec.sockets_max.saturating_mul(HANDLES_PER_SOCKET));
        let guest = Guest {
            table,
            wasi: wasi(spec, stdin)?,
            http: WasiHttpCtx::new(),
            hooks: Hooks::new(outside),
            sockets: Sockets::new(spec),
            limits: files::Limits::of(spec),
            buckets: spec.buckets.clone(),
            settings: spec.settings.clone(),
            log: spec.stderr.clone(),
            blobs: Blobs::on(spec.blobs.as_ref()),
            account: Account::open(spec.ledger.clone()),
            _ticking: ticker.enter(),
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.account);
        let ticks = spec.ledger.ticks();
        store.epoch_deadline_async_yield_and_update(ticks);
        store.set_epoch_deadline(ticks);
        Ok(store)
    }

    /// Everything the instance holds handles on.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// What its sockets are made with, and where they are kept.
    pub(crate) fn sockets(&mut self) -> SocketsView<'_> {
        SocketsView::new(&self.sockets, &mut self.table)
    }

    /// Its files, with what limits them.
    pub(crate) fn files(&mut self) -> FilesView<'_> {
        let files = WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table };
        FilesView::new(files, &mut self.limits)
    }

    /// The buckets it may open.
    pub(crate) fn key_value(&mut self) -> KeyValueView<'_> {
        KeyValueView { buckets: &self.buckets, table: &mut self.table }
    }

    /// What it is configured with.
    pub(crate) fn settings(&mut self) -> SettingsView<'_> {
        SettingsView(&self.settings)
    }

    /// Where it logs.
    pub(crate) fn logging(&mut self) -> LoggingView<'_> {
        LoggingView(&self.log)
    }

    /// Where it keeps objects.
    pub(crate) fn blobs(&mut self) -> BlobsView<'_> {
        BlobsView { blobs: &self.blobs, table: &mut self.table }
    }

    pub(crate) fn memory_refusal(&self) -> MemoryRefusal {
        MemoryRefusal(self.account.refusal())
    }
}

fn wasi(spec: &Spec, stdin: Stdin) -> wasmtime::Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&spec.args)
        .envs(&spec.env)
        .stdout(Output::new(spec.stdout.clone(), spec.streams))
        .stderr(Output::new(spec.stderr.clone(), spec.streams));
    stdin.connect(&mut wasi, spec.streams);
    if let Some(dir) = &spec.working_dir {
        wasi.initial_cwd(dir);
    }
    for mount in &spec.mounts {
        let permissions = match mount.mode {
            Mode::ReadOnly => FsPerms::ReadOnly,
            Mode::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&mount.host, &mount.guest, permissions)
            .map_err(|error| error.context(format!("failed to mount {}", mount.guest)))?;
    }
    Ok(wasi.build())
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

// === impl MemoryRefusal ===

impl MemoryRefusal {
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
