//! The files that a guest sees: wasmtime's, with limits on how much it may put into a mount.
//!
//! A descriptor that was opened below a mount with a [`Quota`] is under it; whatever lets a file grow takes room first, and gets "no
//! space left" where there is none. Everything else is wasmtime's own. Files are reached by the interface of WASI 0.2, or by that
//! of 0.3, whose streams are checked as they are written.

mod output;
mod p2;
mod p3;

use std::collections::HashMap;

use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};

use crate::quota::Quota;
use crate::spec::Spec;

/// Which descriptors of a guest are under which limit.
#[derive(Default)]
pub(crate) struct Limits {
    by_mount: HashMap<String, Quota>,
    by_descriptor: HashMap<u32, Quota>,
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
    /// Those of the mounts that have one.
    pub(crate) fn of(spec: &Spec) -> Self {
        let limited = spec.mounts.iter().filter_map(|mount| Some((mount.guest.clone(), mount.quota.clone()?)));
        Self { by_mount: limited.collect(), by_descriptor: HashMap::new() }
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

    /// What was opened below a descriptor is under the same limit.
    fn inherit(&mut self, quota: Option<Quota>, child: &Resource<Descriptor>) {
        if let Some(quota) = quota {
            self.limits.by_descriptor.insert(child.rep(), quota);
        }
    }

    fn forget(&mut self, descriptor: &Resource<Descriptor>) {
        self.limits.by_descriptor.remove(&descriptor.rep());
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

    /// Takes room for a file that is to be this long.
    fn grow_to(&mut self, descriptor: &Resource<Descriptor>, length: u64) -> std::io::Result<()> {
        let Some(quota) = self.quota(descriptor) else { return Ok(()) };
        let Ok(Descriptor::File(file)) = self.files.table.get(descriptor) else { return Ok(()) };
        let has = file.file.metadata()?.len();
        if length < has {
            quota.taken_away();
        }
        quota.take(length.saturating_sub(has))
    }
}
