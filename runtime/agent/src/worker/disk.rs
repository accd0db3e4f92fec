//! What a pod has on the disk: where, how much, and until when.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::debug;

use super::{Mail, Worker};
use crate::eviction::{self, StorageUsed};
use crate::pod::Happening;
use crate::pressure;

/// How often to look at what a pod with a limit keeps on the disk, and of how much time looking may take a part.
pub(super) const STORAGE_PERIOD: Duration = Duration::from_millis(100);
const STORAGE_LOOK_SHARE: u32 = 20;

impl Worker {
    /// Where the files of the pod are kept on this node.
    pub(super) fn directory(&self) -> PathBuf {
        self.context.config.data_dir.join("pods").join(&*self.uid)
    }

    /// Where the pod's secrets lie.
    pub(super) fn directory_in_memory(&self) -> PathBuf {
        let root = self.context.config.memory_dir.as_ref().unwrap_or(&self.context.config.data_dir);
        root.join("pods").join(&*self.uid)
    }

    /// Looks in a while at what the pod keeps on the disk.
    pub(super) fn look_at_storage(&mut self, wait: Duration) {
        let (context, pod) = (self.context.clone(), self.pod());
        self.spawn(async move {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            let looking = tokio::task::spawn_blocking(move || pressure::storage_of(&context, &pod));
            Mail::Stored(looking.await.unwrap_or_default(), began.elapsed())
        });
    }

    pub(super) fn stored(&mut self, used: &StorageUsed, took: Duration) {
        if !self.state.is_active() {
            return;
        }
        match eviction::storage_excess(self.state.pod(), used) {
            Some(message) => self.happen(Happening::Evicted(message)),
            None => self.look_at_storage(STORAGE_PERIOD.max(took * STORAGE_LOOK_SHARE)),
        }
    }

    /// The files of the pod go, what it printed stays.
    pub(super) fn vacate(&mut self) {
        let directories = [self.directory(), self.directory_in_memory()];
        self.context.quotas.forget(&directories[0]);
        let key = self.key.clone();
        tokio::task::spawn_blocking(move || {
            for directory in directories {
                if let Err(error) = std::fs::remove_dir_all(directory)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    debug!(pod = %key, %error, "files of a pod were left behind");
                }
            }
        });
    }

    pub(super) fn release(&mut self) {
        self.tasks.abort_all();
        self.slots.clear();
        self.attachment = None;
        self.context.return_addresses(&self.uid);
        let directories = [self.directory(), self.directory_in_memory()];
        self.context.quotas.forget(&directories[0]);
        let (logs, key, uid) = (self.context.logs.clone(), self.key.clone(), self.uid.clone());
        // Outlives the worker on purpose: it only removes what nobody names any more.
        tokio::task::spawn_blocking(move || {
            let remove = |directory: &PathBuf| match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            let removed = directories.iter().map(remove).fold(Ok(()), std::io::Result::and);
            if let Err(error) = removed.and_then(|()| logs.remove(key.namespace(), key.name(), &uid)) {
                debug!(pod = %key, %error, "files of a pod were left behind");
            }
        });
    }
}
