//! The files that a guest sees: wasmtime's, with limits on how much it may put into a mount.
//!
//! A descriptor that was opened below a mount with a [`Quota`] is under it; whatever lets a file grow takes room first, and gets "no
//! space left" where there is none. A container has no more files open than
//! leaves some to others. Everything else is wasmtime's own. Files are reached by the interface of WASI 0.2, or by that
//! of 0.3, whose streams are checked as they are written.

mod output;
mod p2;
mod p3;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};

use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::shares::{NoMore, Shares};
use crate::spec::Spec;

/// Which descriptors of a guest are under which limit, and how many it may have.
pub(crate) struct Limits {
    by_mount: HashMap<String, Quota>,
    by_descriptor: HashMap<u32, Quota>,
    /// The descriptors that it has opened itself.
    open: HashSet<u32>,
    all: Arc<Shares>,
    ledger: Ledger,
}

/// A guest's files with their limits.
pub(crate) struct FilesView<'a> {
    files: WasiFilesystemCtxView<'a>,
    limits: &'a mut Limits,
}

/// The part of a guest that these interfaces need.
pub(crate) struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = FilesView<'a>;
}

// === impl Limits ===

impl Limits {
    /// Those of the mounts that have one, and a share of all files that may be open.
    pub(crate) fn of(spec: &Spec, all: Arc<Shares>) -> Self {
        let limited = spec.mounts.iter().filter_map(|mount| Some((mount.guest.clone(), mount.quota.clone()?)));
        Self {
            by_mount: limited.collect(),
            by_descriptor: HashMap::new(),
            open: HashSet::new(),
            all,
            ledger: spec.ledger.clone(),
        }
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.all.give(self.ledger.files(), self.open.len());
    }
}

// === impl FilesView ===

impl<'a> FilesView<'a> {
    pub(crate) fn new(files: WasiFilesystemCtxView<'a>, limits: &'a mut Limits) -> Self {
        Self { files, limits }
    }

    /// What wasmtime would be given.
    fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: self.files.ctx, table: self.files.table }
    }

    fn table(&mut self) -> &mut ResourceTable {
        self.files.table
    }

    fn quota(&self, descriptor: &Resource<Descriptor>) -> Option<Quota> {
        self.limits.by_descriptor.get(&descriptor.rep()).cloned()
    }

    /// What has to be kept elsewhere before a descriptor is in sync: by whom, and the file if it is one.
    fn kept(&self, descriptor: &Resource<Descriptor>) -> Option<(Quota, Option<Arc<std::fs::File>>)> {
        let quota = self.quota(descriptor)?;
        let file = match self.files.table.get(descriptor) {
            Ok(Descriptor::File(file)) => Some(file.file.clone()),
            _ => None,
        };
        Some((quota, file))
    }

    /// What was opened below a descriptor is under the same limit.
    fn inherit(&mut self, quota: Option<Quota>, child: &Resource<Descriptor>) {
        if let Some(quota) = quota {
            self.limits.by_descriptor.insert(child.rep(), quota);
        }
    }

    /// Takes room for one more open file.
    fn begin_open(&self) -> Result<(), NoMore> {
        self.limits.all.take(self.limits.ledger.files(), 1)
    }

    /// What came of it.
    fn end_open<E>(
        &mut self,
        quota: Option<Quota>,
        opened: Result<Resource<Descriptor>, E>,
    ) -> Result<Resource<Descriptor>, E> {
        match &opened {
            Ok(opened) => {
                self.limits.open.insert(opened.rep());
                self.inherit(quota, opened);
            }
            Err(_) => self.limits.all.give(self.limits.ledger.files(), 1),
        }
        opened
    }

    fn forget(&mut self, descriptor: &Resource<Descriptor>) {
        self.limits.by_descriptor.remove(&descriptor.rep());
        if self.limits.open.remove(&descriptor.rep()) {
            self.limits.all.give(self.limits.ledger.files(), 1);
        }
    }

    /// The directories that a guest starts with.
    fn preopened(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
        let directories = self.files.get_directories()?;
        for (directory, place) in &directories {
            let quota = self.limits.by_mount.get(place).cloned();
            self.inherit(quota, directory);
        }
        Ok(directories)
    }

    /// Takes room for what is about to be made in a directory.
    fn make_in(&self, descriptor: &Resource<Descriptor>) -> std::io::Result<()> {
        self.quota(descriptor).map_or(Ok(()), |quota| quota.take_entry())
    }

    /// Takes room for a file that is to be this long.
    fn grow_to(&mut self, descriptor: &Resource<Descriptor>, length: u64) -> std::io::Result<()> {
        let Some(quota) = self.quota(descriptor) else { return Ok(()) };
        let Ok(Descriptor::File(file)) = self.files.table.get(descriptor) else { return Ok(()) };
        let found = file.file.metadata()?;
        if found.nlink() == 0 {
            quota.watch_nameless(&file.file);
        }
        let has = found.len();
        if length < has {
            quota.taken_away();
        }
        quota.take(length.saturating_sub(has))
    }
}
