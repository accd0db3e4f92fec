//! The pods that a job lacks.

use api::Object;
use jiff::Timestamp;
use state::Txn;

use super::indexes::Indexes;
use super::member::Member;
use super::tally::{Tally, policy};
use super::work::Work;
use super::{COMPONENT, backoff, pod};
use crate::charge::Tab;
use crate::created::awaits_account;
use crate::record::{Tale, Tone, told_since};
use crate::refusal;

/// Enough for a job to be quick, few enough for one record of the log.
const PODS_PER_LOOK_MAX: usize = 100;

/// New pods, and what kept others from coming.
#[derive(Default)]
pub(super) struct Growth {
    pub(super) created: Vec<Object>,
    /// What the new pods cost.
    pub(super) charges: Txn,
    /// A refusal that has not been told lately.
    pub(super) refused: Option<String>,
    /// When more may be created.
    pub(super) again: Option<Timestamp>,
}

/// What is to be created now.
pub(super) fn of(work: &Work<'_>, tally: &Tally) -> Growth {
    let mut growth = Growth::default();
    let missing = missing(work, tally);
    let template = work.spec().template.spec.as_ref();
    if missing == 0 || work.object.meta().is_terminating() || awaits_account(template, work.object.key(), work.view) {
        return growth;
    }
    if work.limit_per_index().is_none() {
        growth.again = backoff::until(work);
        if growth.again.is_some() {
            return growth;
        }
    }
    let places: Vec<Option<u32>> = match (work.is_indexed(), work.completions()) {
        (true, Some(completions)) => pending(work, tally, completions, missing, &mut growth.again),
        _ => vec![None; missing],
    };
    let mut tab = Tab::open(work.object.key(), work.view, work.look);
    for (n, index) in places.into_iter().take(missing.min(PODS_PER_LOOK_MAX)).enumerate() {
        let before = index.and_then(|index| tally.retried.get(&index)).map(|place| &work.members[*place]);
        match pod::create(work, n, index, before, &mut tab) {
            Ok(pod) => growth.created.push(pod),
            Err(why) => {
                refuse(&mut growth, work, &why);
                break;
            }
        }
    }
    growth.charges = tab.settle();
    growth
}

/// How many pods there should be more.
fn missing(work: &Work<'_>, tally: &Tally) -> usize {
    let wanted = wanted(work, tally);
    let leaving = if work.replaces_ended_only() { tally.leaving } else { 0 };
    wanted.saturating_sub(tally.active + leaving)
}

/// How many pods should be active.
pub(super) fn wanted(work: &Work<'_>, tally: &Tally) -> usize {
    if work.is_suspended() {
        return 0;
    }
    match work.completions() {
        Some(all) => all.saturating_sub(tally.succeeded).min(work.parallelism()),
        None if tally.succeeded > 0 => tally.active,
        None => work.parallelism(),
    }
}

/// The first indexes that nobody works at; each that failed waits for itself.
fn pending(
    work: &Work<'_>,
    tally: &Tally,
    completions: usize,
    count: usize,
    again: &mut Option<Timestamp>,
) -> Vec<Option<u32>> {
    let busy = |member: &&Member<'_>| member.is_active() || (work.replaces_ended_only() && member.is_leaving());
    let mut taken: Indexes = work.members.iter().filter(busy).filter_map(|member| work.index(member)).collect();
    taken.extend(&tally.done);
    taken.extend(&tally.lost);
    let mut is_due = |index: &u32| {
        let failed = tally.retried.get(index).map(|place| &work.members[*place]);
        let until = failed.and_then(|failed| {
            let (counted, ignored) = failed.failures(policy(work));
            Some(backoff::after(counted + ignored, failed.finished_at()?))
        });
        match until.filter(|until| *until > work.look.now) {
            None => true,
            Some(until) => {
                *again = [*again, Some(until)].into_iter().flatten().min();
                false
            }
        }
    };
    taken.missing(completions).filter(|index| is_due(index)).take(count).map(Some).collect()
}

fn refuse(growth: &mut Growth, work: &Work<'_>, why: &str) {
    let message = format!("Error creating: {why}");
    let tale = Tale { by: COMPONENT, tone: Tone::Warning, reason: "FailedCreate", message: &message };
    if !told_since(work.view, work.object, &tale, work.look.now - refusal::AGAIN) {
        growth.refused = Some(message);
    }
    growth.again = Some(work.look.now + refusal::AGAIN);
}
