//! What a member sees to by itself: that the others know where it is, that it gets a vote once it has caught up, and that it knows
//! whom to ask should it lose all else.

use std::sync::Weak;
use std::time::Duration;

use super::{Parts, Seat};
use crate::members::VOTERS_MAX;
use crate::roster::Roster;
use crate::runtime;
use crate::{Change, Peer, Role};

/// Between two looks, for as long as something is not as it should be.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn run(parts: Weak<Parts>, seat: Seat) {
    let mut remembered = None;
    loop {
        let Some(strong) = parts.upgrade() else { return };
        let mut cluster = strong.cluster.clone();
        cluster.mark_unchanged();
        let wanted = wanted(&strong, &seat);
        remember(&strong, &mut remembered).await;
        drop(strong);
        let Some(change) = wanted else {
            if cluster.changed().await.is_err() {
                return;
            }
            continue;
        };
        let Some(parts) = parts.upgrade() else { return };
        if let Err(error) = parts.change(change.clone()).await {
            tracing::debug!(%error, ?change, "the members are as they were");
        }
        drop(parts);
        runtime::sleep(AGAIN).await;
    }
}

/// Writes down who the others are, unless that is what was written.
async fn remember(parts: &Parts, remembered: &mut Option<Roster>) {
    let Some(roster) = Roster::of(parts.member(), &parts.cluster.borrow()) else { return };
    // Who has always been alone needs no file that says so.
    if remembered.as_ref() == Some(&roster) || (remembered.is_none() && roster.is_alone() && !is_written(parts)) {
        return;
    }
    let (disk, directory, written) = (parts.disk.clone(), parts.directory.clone(), roster.clone());
    match runtime::spawn_blocking(move || written.write(&*disk, &directory)).await {
        Ok(Ok(())) => *remembered = Some(roster),
        Ok(Err(error)) => tracing::warn!(%error, "who the other members are cannot be written down"),
        // The store is going down.
        Err(_) => {}
    }
}

fn is_written(parts: &Parts) -> bool {
    !matches!(Roster::read(&*parts.disk, &parts.directory), Ok(None))
}

/// What is not yet as it should be.
fn wanted(parts: &Parts, seat: &Seat) -> Option<Change> {
    let cluster = parts.cluster.borrow();
    let me = cluster.get(parts.member())?;
    if me.peer.address != seat.address {
        return Some(Change::Move(Peer { member: parts.member(), address: seat.address.clone() }));
    }
    if cluster.is_changing {
        return None;
    }
    let wants_a_vote = me.role == Role::Learner && cluster.voters() < VOTERS_MAX;
    wants_a_vote.then(|| Change::Promote(parts.member()))
}
