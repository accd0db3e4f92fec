//! The pods that a job has too many, or no more use for.
//!
//! Their end is nobody's failure, so they are let go uncounted; only who is stopped because the job has failed is counted, as
//! failed, by the look that finds it on its way out.

use std::collections::BTreeMap;

use state::{Guard, Txn};

use super::member::Member;
use super::tally::Tally;
use super::verdict::{Outcome, Verdict};
use super::work::Work;
use super::{COMPONENT, TRACKING, growth, ranking};
use crate::Plan;
use crate::deletion::{Propagation, delete, take_finalizer};
use crate::edit::edited_tree;
use crate::record::{Tale, Tone, told};

/// Enough for a suspension to be quick, few enough for the log.
const PODS_PER_LOOK_MAX: usize = 100;

/// Lets them go, each by itself.
pub(super) fn let_go(work: &Work<'_>, tally: &Tally, verdict: Option<&Verdict>) -> Plan {
    if work.object.meta().is_terminating() {
        return Plan::nothing();
    }
    let doomed = match verdict {
        Some(verdict) if verdict.is_known => work.members.iter().filter(|member| member.is_active()).collect(),
        // First it is said why.
        Some(_) => Vec::new(),
        None => doomed(work, tally),
    };
    let fails = verdict.is_some_and(|verdict| verdict.outcome == Outcome::Failure);
    let unchanged = Guard::Unchanged(work.object.key().clone(), work.object.revision());
    let txns = doomed.into_iter().take(PODS_PER_LOOK_MAX).map(|member| {
        let message = format!("Deleted pod: {}", member.object.key().name());
        let tale = Tale { by: COMPONENT, tone: Tone::Normal, reason: "SuccessfulDelete", message: &message };
        let gone =
            if fails { delete(member.object, Propagation::Background, work.look.now) } else { forgotten(work, member) };
        gone.guard(unchanged.clone()).and(told(work.view, work.look, work.object, &tale))
    });
    txns.collect()
}

/// Deletes a pod that is not to be counted.
fn forgotten(work: &Work<'_>, member: &Member<'_>) -> Txn {
    let free = edited_tree(member.object, |value| take_finalizer(value, TRACKING));
    let free = free.map_or_else(|| member.object.clone(), |free| free.at(member.object.revision()));
    delete(&free, Propagation::Background, work.look.now)
}

/// Those of whom an index has two, or who have none; then as many as there are too many.
fn doomed<'w, 'a>(work: &'w Work<'a>, tally: &Tally) -> Vec<&'w Member<'a>> {
    let excess = tally.active.saturating_sub(growth::wanted(work, tally));
    let active = || work.members.iter().filter(|member| member.is_active());
    let mut doomed = if work.is_indexed() { useless(work) } else { Vec::new() };
    let stays = |member: &&Member<'_>| !doomed.iter().any(|it: &&Member<'_>| it.object.key() == member.object.key());
    let more: Vec<&Member<'_>> =
        ranking::ranked(active().filter(stays)).into_iter().take(excess.saturating_sub(doomed.len())).collect();
    doomed.extend(more);
    doomed
}

fn useless<'w, 'a>(work: &'w Work<'a>) -> Vec<&'w Member<'a>> {
    let mut by_index = BTreeMap::<Option<u32>, Vec<&Member<'_>>>::new();
    for member in work.members.iter().filter(|member| member.is_active()) {
        by_index.entry(work.index(member)).or_default().push(member);
    }
    let useless = by_index.into_iter().flat_map(|(index, members)| {
        let kept = usize::from(index.is_some());
        let excess = members.len().saturating_sub(kept);
        ranking::ranked(members.into_iter()).into_iter().take(excess)
    });
    useless.collect()
}
