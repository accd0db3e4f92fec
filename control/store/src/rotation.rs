//! A new key, while everything runs.
//!
//! First the new key is in the file, then it seals; what an older one sealed is sealed anew in the image, and let go of in the log,
//! whose entries the image has. Only when nothing on disk takes an older key any more does that key leave the file. A crash at any
//! moment leaves a file that opens everything there is; the next rotation finishes the work.

use std::io;
use std::time::Duration;

use openraft::metrics::Metric;

use crate::runtime;
use crate::{RotationError, Store};

/// What became of a change of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key that seals from now on.
    pub key: u32,
    /// Those that are forgotten. None if the log could not let go of what they sealed: the next rotation takes them.
    pub retired: Vec<u32>,
}

/// Everything in the log is applied and in the image within this time, or the old key stays for now.
const LETTING_GO_MAX: Duration = Duration::from_secs(30);

impl Store {
    /// The keys there are: their numbers, the one that seals first.
    pub async fn keys(&self) -> Vec<u32> {
        self.0.keys.lock().await.all().iter().map(|secret| secret.id).collect()
    }

    /// Has a new key seal everything, what lies on disk already included, and forgets the older ones.
    pub async fn rotate_keys(&self) -> Result<Rotation, RotationError> {
        // Held throughout: one rotation after the other.
        let mut keys = self.0.keys.clone().lock_owned().await;
        let (mut keys, secret) = blocking(move || {
            let secret = keys.add()?;
            Ok((keys, secret))
        })
        .await?;
        self.0.sealer.turn_to(&secret);
        self.0.log.roll().await?;
        self.0.image.reseal().await?;
        let sealed = secret.id;
        if !self.let_go_of_log().await {
            return Ok(Rotation { key: sealed, retired: Vec::new() });
        }
        let retired = blocking(move || keys.retire()).await?;
        for id in &retired {
            self.0.sealer.forget(*id);
        }
        Ok(Rotation { key: sealed, retired })
    }

    /// Drops every file of the log but the last; whether that was possible.
    async fn let_go_of_log(&self) -> bool {
        let raft = &self.0.raft;
        let Some(last) = self.0.log.last() else { return true };
        let patience = Some(LETTING_GO_MAX);
        let letting_go = async {
            let applied =
                raft.wait(patience).applied_index_at_least(Some(last.index), "what is logged is applied").await?;
            raft.trigger().snapshot().await.ok();
            let Some(applied) = applied.last_applied else { return Ok(()) };
            raft.wait(patience).ge(Metric::Snapshot(Some(applied)), "what is applied is in the image").await?;
            raft.trigger().purge_log(applied.index).await.ok();
            raft.wait(patience).ge(Metric::Purged(Some(applied)), "what is in the image left the log").await.map(drop)
        };
        match letting_go.await {
            Ok(()) => self.0.log.segments() == 1,
            Err(error) => {
                tracing::warn!(%error, "an old key is still needed by the log");
                false
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    runtime::spawn_blocking(work).await.map_err(io::Error::other)?
}
