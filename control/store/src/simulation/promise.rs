//! What the others rely on when a member comes back: that it is who it was, and has its vote and its entries.

use std::time::Duration;

use futures::FutureExt;
use openraft::RaftLogReader;

use super::disk::{Kept, SimulatedDisk};
use super::executor;
use super::random::Random;
use super::stage::Stage;
use crate::consensus::{LogId, Vote};
use crate::disk::Disk;
use crate::log::Log;
use crate::store::Files;
use crate::{Config, MemberId, OpenError, Store, runtime};

/// So often it is looked whether a disk has what was promised, and so long after one another: longer than any disk takes.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(50);

/// What a member has promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Promise {
    member: MemberId,
    vote: Option<Vote>,
    last: Option<LogId>,
    purged: Option<LogId>,
}

// === impl Promise ===

impl Promise {
    fn of(member: MemberId, log: &Log) -> Self {
        let vote = log.clone().read_vote().now_or_never().and_then(Result::ok).flatten();
        Self { member, vote, last: log.last(), purged: log.purged() }
    }

    /// What a member that runs would say of itself.
    fn given(store: &Store) -> Self {
        Self::of(store.member(), &store.0.log)
    }

    /// What is found on a disk by whoever starts on it now.
    pub(super) fn found(disk: &SimulatedDisk, config: &Config) -> Result<Self, OpenError> {
        executor::outside(|| {
            let files = Files::open(&disk.share(), config)?;
            let promise = Self::of(files.member, &files.log);
            files.close();
            Ok(promise)
        })
    }
}

impl Stage {
    /// Sees to it that every member that runs would find on its disk what it has promised, if its power failed now.
    pub(super) async fn remembers(&self) -> Result<(), String> {
        for place in 0..self.machines() {
            let mut kept = Ok(());
            for _ in 0..LOOKS {
                kept = self.remembers_at(place);
                if kept.is_ok() {
                    break;
                }
                // What is under way is promised a moment later.
                runtime::sleep(LOOK).await;
            }
            kept?;
        }
        Ok(())
    }

    fn remembers_at(&self, place: usize) -> Result<(), String> {
        let Some((_, store)) = self.store(place) else { return Ok(()) };
        let disk = self.disk(place).without_power(Kept::Nothing, &mut Random::new(1));
        let (given, found) = (Promise::given(&store), Promise::found(&disk, self.config()));
        match found {
            Ok(found) if found == given => Ok(()),
            found => Err(format!("member {place} promised {given:?}, and finds {found:?} without power")),
        }
    }
}
