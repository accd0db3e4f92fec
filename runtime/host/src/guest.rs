//! One instance's side of the host: what its imports see.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::types::DirectoryEntryStream;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::blobs::{Blobs, BlobsView};
use crate::files::{self, FilesView};
use crate::keyvalue::{Buckets, KeyValueView};
use crate::ledger::{Account, Ledger, OutOfMemory};
use crate::logging::LoggingView;
use crate::outside::{Hooks, Outside};
use crate::settings::SettingsView;
use crate::shares::{NoMore, Shares};
use crate::sink::Sink;
use crate::sockets::{Sockets, SocketsView};
use crate::spec::{Mode, Spec};
use crate::stdio::{Output, Stdin};
use crate::ticker::Ticking;
use crate::{host, meter};

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
    audit: Audit,
    _place: Place,
    _ticking: Ticking,
}

/// The room that an instance takes on the node, given back when it goes.
struct Place {
    all: Arc<Shares>,
    ledger: Ledger,
    count: usize,
}

/// When to look next at what the host holds for an instance.
#[derive(Default)]
struct Audit {
    /// Ticks until then.
    wait: u32,
}

/// Whether an instance was refused memory, known also after it is gone.
#[derive(Clone)]
pub(crate) struct MemoryRefusal(Arc<AtomicBool>);

/// Streams, requests, headers, files a guest may hold at once, its sockets not counted: they live in the host's memory,
/// which its limit does not count.
const HANDLES_MAX: usize = 10_000;

/// Of what one call brings from the guest, so much is taken; one that brings more is a trap.
const CALL_BYTES_MAX: usize = 16 << 20;

/// What the guest may hold of the component model's own: tasks, streams, futures and sets of them.
const COMPONENT_HANDLES_MAX: usize = 20_000;

/// Nobody needs more at a time, and making it takes a thread for some milliseconds.
const RANDOM_BYTES_MAX: u64 = 4 << 20;

/// Roughly what a handle costs the host that is nothing larger.
const HANDLE_BYTES: u64 = 256;

/// Names and values are counted as they are; this is added for each pair.
const FIELD_BYTES: usize = 64;

/// A directory that is being read is held as a whole, however long it is.
const DIRECTORY_BYTES: u64 = 256 << 10;

/// What the host holds is looked at after so many ticks, and later if it is much, so that looking costs little.
const AUDIT_TICKS: u32 = 4;
const AUDITED_PER_TICK: u32 = 2_000;

/// A socket, its two streams, and what waits for each of them.
const HANDLES_PER_SOCKET: usize = 6;

// === impl Guest ===

impl Guest {
    /// A store for one instance of this size, with everything it was given and nothing else.
    pub(crate) fn store(
        host: &host::Shared,
        size: usize,
        spec: &Spec,
        stdin: Stdin,
        outside: Arc<dyn Outside>,
    ) -> wasmtime::Result<Store<Guest>> {
        let place = Place::take(host.places.clone(), spec.ledger.clone(), size)?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX + spec.sockets_max.saturating_mul(HANDLES_PER_SOCKET));
        let guest = Guest {
            table,
            wasi: wasi(spec, stdin)?,
            http: WasiHttpCtx::new(),
            hooks: Hooks::new(outside),
            sockets: Sockets::new(spec),
            limits: files::Limits::of(spec, host.files.clone()),
            buckets: spec.buckets.clone(),
            settings: spec.settings.clone(),
            log: spec.stderr.clone(),
            blobs: Blobs::on(spec.blobs.as_ref()),
            account: Account::open(spec.ledger.clone()),
            audit: Audit::default(),
            _place: place,
            _ticking: host.ticker.enter(),
        };
        let mut store = Store::new(&host.engine, guest);
        store.limiter(|guest| &mut guest.account);
        store.set_hostcall_fuel(CALL_BYTES_MAX);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.set_epoch_deadline(spec.ledger.ticks());
        let ledger = spec.ledger.clone();
        store.epoch_deadline_callback(move |mut store| {
            meter::force();
            store.data_mut().audit()?;
            Ok(UpdateDeadline::Yield(ledger.ticks()))
        });
        Ok(store)
    }

    /// Books what the host holds for the instance: to hold it is to use memory.
    fn audit(&mut self) -> Result<(), OutOfMemory> {
        if let Some(less) = self.audit.wait.checked_sub(1) {
            self.audit.wait = less;
            return Ok(());
        }
        let (mut bytes, mut count) = (0, 0_u32);
        for entry in self.table.iter_mut() {
            let entry: &dyn Any = entry;
            count += 1;
            bytes += HANDLE_BYTES;
            if let Some(fields) = entry.downcast_ref::<FieldMap>() {
                count = count.saturating_add(fields.len() as u32);
                bytes +=
                    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum::<usize>()
                        as u64;
            } else if entry.is::<DirectoryEntryStream>() {
                bytes += DIRECTORY_BYTES;
            }
        }
        self.audit.wait = AUDIT_TICKS + count / AUDITED_PER_TICK;
        self.account.hold(bytes)
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

// === impl Place ===

impl Place {
    fn take(all: Arc<Shares>, ledger: Ledger, count: usize) -> Result<Self, NoMore> {
        all.take(ledger.places(), count)?;
        Ok(Self { all, ledger, count })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.give(self.ledger.places(), self.count);
    }
}

fn wasi(spec: &Spec, stdin: Stdin) -> wasmtime::Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(&spec.args)
        .max_random_size(RANDOM_BYTES_MAX)
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
        wasi.preopened_dir(mount.host.path(), &mount.guest, permissions)
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
