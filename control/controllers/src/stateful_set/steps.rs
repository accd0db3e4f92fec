//! What a set does next: pods are made from the lowest ordinal, go from the highest, and are updated from the highest.

use std::ops::ControlFlow;

use super::ranks::{Member, Ranks};
use super::{claims, pod, update};

/// Enough for a parallel set to be quick, few enough for one record of the log.
const STEPS_PER_LOOK_MAX: usize = 100;

/// One change.
pub(super) enum Step<'r, 'a> {
    /// A pod is made at an ordinal.
    Make(i64),
    /// The pod gets the labels back that tell who it is.
    Mend(&'r Member<'a>),
    /// The pod goes.
    Remove(&'r Member<'a>),
    /// The pod has ended, and goes for another of its name to come.
    Replace(&'r Member<'a>),
}

/// Everything that may be done now.
pub(super) fn next<'r, 'a>(ranks: &'r Ranks<'a>) -> Vec<Step<'r, 'a>> {
    let mut steps = Vec::new();
    if fill(ranks, &mut steps).is_continue() && shrink(ranks, &mut steps).is_continue() {
        steps.extend(update::outdated(ranks).into_iter().map(Step::Remove));
    }
    steps
}

/// A healthy pod at every ordinal. An ordered set breaks off at the first that has none.
fn fill<'r, 'a>(ranks: &'r Ranks<'a>, steps: &mut Vec<Step<'r, 'a>>) -> ControlFlow<()> {
    let must_wait = pod::must_wait(ranks);
    for ordinal in ranks.ordinals.start..ranks.ordinals.end {
        if steps.len() >= STEPS_PER_LOOK_MAX {
            return ControlFlow::Break(());
        }
        match ranks.members.get(&ordinal) {
            None if must_wait => return ControlFlow::Break(()),
            None if claims::are_in_the_way(ranks, ordinal) => {}
            None => steps.push(Step::Make(ordinal)),
            Some(member) if member.is_terminating() => {}
            Some(member) if member.has_ended() => steps.push(Step::Replace(member)),
            Some(member) => {
                if !pod::is_told(member) {
                    steps.push(Step::Mend(member));
                }
                if member.is_available() {
                    continue;
                }
            }
        }
        if ranks.is_ordered() {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

/// No pod beyond the ordinals. An ordered set lets none go while another is unwell, for whoever is left may be needed.
fn shrink<'r, 'a>(ranks: &'r Ranks<'a>, steps: &mut Vec<Step<'r, 'a>>) -> ControlFlow<()> {
    let is_wanted = |member: &&Member<'_>| ranks.ordinals.contains(member.ordinal);
    let (wanted, condemned): (Vec<_>, Vec<_>) = ranks.members.values().partition(is_wanted);
    let unwell = wanted.iter().chain(&condemned).find(|member| !member.is_healthy() && !member.has_ended());
    for member in condemned.iter().rev().take(STEPS_PER_LOOK_MAX) {
        let is_first_unwell = unwell.is_some_and(|unwell| unwell.ordinal == member.ordinal);
        let waits = member.is_terminating() || !(member.is_available() || member.has_ended() || is_first_unwell);
        match (ranks.is_ordered(), waits) {
            (true, true) => return ControlFlow::Break(()),
            (true, false) => {
                steps.push(Step::Remove(member));
                return ControlFlow::Break(());
            }
            (false, _) if member.is_terminating() => {}
            (false, _) => steps.push(Step::Remove(member)),
        }
    }
    ControlFlow::Continue(())
}
