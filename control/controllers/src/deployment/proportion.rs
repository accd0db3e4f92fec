//! Scaling while a rollout is under way or paused: every set gets its share, so that the mix stays as it was.

use super::rollout::{DESIRED, MAX, Rollout};

/// Whether the deployment was scaled since its sets were.
pub(super) fn is_due(rollout: &Rollout<'_>) -> bool {
    let active = rollout.sets.iter().filter(|set| set.wanted() > 0);
    active.filter_map(|set| set.noted(DESIRED)).any(|desired| desired != i64::from(rollout.replicas))
}

/// Scales without rolling on.
pub(super) fn scale(rollout: &mut Rollout<'_>) {
    let active: Vec<usize> = (0..rollout.sets.len()).filter(|place| rollout.sets[*place].wanted() > 0).collect();
    let only = match active.as_slice() {
        [] => rollout.newest.or_else(|| rollout.old().next_back()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        // Also a set of the right size is noted as meant so.
        rollout.scale(only, rollout.replicas);
    } else if is_saturated(rollout) {
        for place in rollout.old().filter(|place| active.contains(place)) {
            rollout.scale(place, 0);
        }
        if let Some(newest) = rollout.newest {
            rollout.scale(newest, rollout.replicas);
        }
    } else if rollout.is_recreate() {
        for place in active {
            rollout.scale(place, rollout.sets[place].wanted());
        }
    } else {
        share(rollout, active);
    }
}

fn is_saturated(rollout: &Rollout<'_>) -> bool {
    let Some(newest) = rollout.newest.map(|place| &rollout.sets[place]) else { return false };
    let desired = newest.noted(DESIRED);
    newest.wanted() == rollout.replicas
        && desired == Some(rollout.replicas.into())
        && newest.available >= rollout.replicas
}

fn share(rollout: &mut Rollout<'_>, mut active: Vec<usize>) {
    let sum: i32 = active.iter().map(|place| rollout.sets[*place].wanted()).sum();
    let room = if rollout.replicas > 0 { rollout.pods_max() } else { 0 };
    let to_add = room - sum;
    // The larger sets first; among equals the newer one grows and the older one shrinks.
    active.sort_by_key(|place| {
        let age = i64::try_from(*place).unwrap_or(i64::MAX);
        (-rollout.sets[*place].wanted(), if to_add > 0 { -age } else { age })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::new();
    for place in &active {
        let part = fraction(rollout, *place, to_add, to_add - added);
        added += part;
        sizes.push(rollout.sets[*place].wanted() + part);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    for (place, size) in active.into_iter().zip(sizes) {
        rollout.scale(place, size);
    }
}

fn fraction(rollout: &Rollout<'_>, place: usize, to_add: i32, allowed: i32) -> i32 {
    let set = &rollout.sets[place];
    if to_add == 0 || allowed == 0 {
        return 0;
    }
    if rollout.replicas == 0 {
        return (-set.wanted()).max(allowed);
    }
    let known = rollout.after.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let max_before = set.noted(MAX).filter(|max| *max > 0).unwrap_or(known.max(1).into());
    let scaled = f64::from(set.wanted()) * f64::from(rollout.pods_max()) / max_before as f64;
    let part = scaled.round() as i32 - set.wanted();
    if to_add > 0 { part.clamp(0, allowed) } else { part.clamp(allowed, 0) }
}
