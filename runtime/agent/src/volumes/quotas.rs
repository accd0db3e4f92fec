//! The limits of directories on this node: whoever mounts one is under the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use api::storage::s3::Location;
use api::{kinds, storage};
use host::Quota;
use k8s_openapi::api::core::v1::PersistentVolume;
use state::Snapshot;

use super::claims::directory;
use super::remote;

/// The limits, by the directory.
#[derive(Debug, Default)]
pub struct Quotas {
    by_path: Mutex<HashMap<PathBuf, Quota>>,
}

// === impl Quotas ===

impl Quotas {
    /// The limit of a directory, which is now this.
    pub(crate) fn of(&self, path: &Path, bytes_max: u64) -> Quota {
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = by_path.entry(path.to_owned()).or_insert_with(|| Quota::new(path.to_owned(), bytes_max));
        quota.set(bytes_max);
        quota.clone()
    }

    /// Volumes may have grown: what is mounted is told.
    pub(crate) fn follow(&self, view: &Snapshot, local: &Path, remote: &Path) {
        let by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        if by_path.is_empty() {
            return;
        }
        for object in view.list(kinds::PERSISTENT_VOLUME) {
            let Ok(volume) = object.decode::<PersistentVolume>() else { continue };
            let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
            let path = source.and_then(|source| match source.driver.as_str() {
                storage::LOCAL_PATH => Some(local.join(directory(&source.volume_handle)?)),
                storage::S3 => Some(remote::files(remote, object.key().name(), &Location::of(source).ok()?)),
                _ => None,
            });
            if let Some(quota) = path.and_then(|path| by_path.get(&path)) {
                quota.set(u64::try_from(storage::capacity(&volume).value()).unwrap_or(0));
            }
        }
    }

    /// Forgets those of a directory that goes, and of what is in it.
    pub(crate) fn forget(&self, root: &Path) {
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        by_path.retain(|path, _| !path.starts_with(root));
    }
}
