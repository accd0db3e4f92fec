//! All old pods go before the first new one comes.

use super::rollout::Rollout;

/// The next step.
pub(super) fn step(rollout: &mut Rollout<'_>) {
    let old: Vec<usize> = rollout.old().filter(|place| rollout.sets[*place].wanted() > 0).collect();
    if !old.is_empty() {
        for place in old {
            rollout.scale(place, 0);
        }
        return;
    }
    let still_running = rollout.old().any(|place| rollout.sets[place].running > 0);
    match rollout.newest {
        _ if still_running => {}
        None => rollout.make_newest(rollout.replicas),
        Some(newest) if rollout.sets[newest].wanted() != rollout.replicas => rollout.scale(newest, rollout.replicas),
        Some(_) => {}
    }
}
