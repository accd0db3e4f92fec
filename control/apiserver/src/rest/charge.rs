//! What a write costs the quotas of its namespace.

use std::time::Duration;

use api::{Object, StatusError, kinds, quota};
use state::{Conflict, Snapshot, Txn};

use super::Ask;
use super::change::Missed;

/// As many as may ask other servers for something of one namespace at once: of all who are charged to a quota together, one gets
/// through.
const RACES_MAX: usize = 1_000;
/// A quota that was made a moment ago is counted within a few of these.
const COUNT_PAUSE: Duration = Duration::from_millis(50);
/// Who asks sooner waits as often for it.
const COUNT_PAUSES_MAX: usize = 20;

// === impl Ask ===

impl Ask {
    /// Makes a transaction happen that puts `new` in the place of `old`, or only finds out whether it would, together with what
    /// that costs. Who asks this server is charged when it is his turn; while others are faster nevertheless, nothing but the price
    /// is reckoned again.
    pub(super) async fn propose_charged(
        &self,
        world: &Snapshot,
        txn: Txn,
        dry_run: bool,
        (old, new): (Option<&Object>, &Object),
    ) -> Result<Object, Missed> {
        let mut world = world.clone();
        let mut pauses = 0;
        let mut taken = None;
        for _ in 0..RACES_MAX {
            while pauses < COUNT_PAUSES_MAX && awaits_count(&world, new) {
                pauses += 1;
                tokio::time::sleep(COUNT_PAUSE).await;
                world = self.door.store.snapshot();
            }
            let mut charges = self.charges(&world, old, new).map_err(Missed::Refused)?;
            if taken.is_none() && !charges.is_empty() {
                let turn = self.door.turns.of(new.key().namespace());
                match turn.clone().try_lock_owned() {
                    Ok(mine) => taken = Some(mine),
                    Err(_) => {
                        taken = Some(turn.lock_owned().await);
                        world = self.door.store.snapshot();
                        charges = self.charges(&world, old, new).map_err(Missed::Refused)?;
                    }
                }
            }
            match self.propose(&world, txn.clone().and(charges), dry_run, new).await {
                Err(Missed::Conflict(Conflict::Changed { key, .. } | Conflict::Missing(key)))
                    if key.kind() == kinds::RESOURCE_QUOTA && key != *new.key() => {}
                done => return done,
            }
            world = self.door.store.snapshot();
        }
        Err(Missed::Refused(StatusError::internal("the quotas could not be charged: others were faster each time")))
    }

    /// What charges the quotas for what `new` takes more than `old`; or the refusal of what is more than there may be.
    fn charges(&self, world: &Snapshot, old: Option<&Object>, new: &Object) -> Result<Txn, StatusError> {
        let charged = quota::charge(quotas(world, new), self.target.names(), old, new, (self.door.clock)())?;
        Ok(charged.into_iter().fold(Txn::default(), |txn, (quota, charged)| txn.and(Txn::replace(quota, charged))))
    }
}

fn awaits_count(world: &Snapshot, new: &Object) -> bool {
    quotas(world, new).any(|quota| !quota::is_counted(quota))
}

/// Those of the namespace that `new` is in.
fn quotas<'a>(world: &'a Snapshot, new: &'a Object) -> impl Iterator<Item = &'a Object> {
    let namespace = new.key().namespace();
    let quotas = (!namespace.is_empty()).then(|| world.list_in(kinds::RESOURCE_QUOTA, namespace));
    quotas.into_iter().flatten()
}
