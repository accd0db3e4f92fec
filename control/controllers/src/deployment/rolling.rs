//! A rolling update, one step at a time: new pods as far as the surge allows, then old ones go as far as availability allows.

use super::rollout::{Rollout, Set};

/// The next step: up with the new, or else down with the old.
pub(super) fn step(rollout: &mut Rollout<'_>) {
    if !grow_newest(rollout) {
        shrink_old(rollout);
    }
}

fn grow_newest(rollout: &mut Rollout<'_>) -> bool {
    let room = rollout.pods_max().saturating_sub(rollout.pods()).max(0);
    let Some(newest) = rollout.newest else {
        rollout.make_newest(room.min(rollout.replicas));
        return true;
    };
    let wanted = rollout.sets[newest].wanted();
    let target =
        if wanted > rollout.replicas { rollout.replicas } else { wanted + room.min(rollout.replicas - wanted) };
    if target != wanted {
        rollout.scale(newest, target);
    }
    target != wanted
}

fn shrink_old(rollout: &mut Rollout<'_>) {
    let Some(newest) = rollout.newest else { return };
    let available_min = rollout.replicas - rollout.bounds.unavailable;
    let sum = |of: fn(&Set) -> i32| rollout.sets.iter().map(of).sum::<i32>();
    let newest_lacks = (rollout.sets[newest].wanted() - rollout.sets[newest].available_to_stay()).max(0);
    let spare = sum(Set::wanted) - available_min - newest_lacks;
    if spare <= 0 {
        return;
    }
    // Old pods that serve nobody go first: they cost no availability.
    let mut left = spare;
    for place in rollout.old() {
        let set = &rollout.sets[place];
        let useless = (set.wanted() - set.available_to_stay()).min(left);
        if useless > 0 {
            left -= useless;
            rollout.scale(place, set.wanted() - useless);
        }
    }
    let available: i32 = rollout.sets.iter().map(Set::available_to_stay).sum();
    left = left.min(available - available_min);
    for place in rollout.old() {
        let wanted = rollout.sets[place].wanted();
        let gone = wanted.min(left);
        if gone > 0 {
            left -= gone;
            rollout.scale(place, wanted - gone);
        }
    }
}
