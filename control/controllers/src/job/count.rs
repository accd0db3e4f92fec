//! Which pods are counted in this look, and as what.

use std::collections::HashSet;

use api::Object;

use super::indexes::Indexes;
use super::member::Member;
use super::tally::{Tally, is_counted, policy};
use super::verdict::{Outcome, Verdict};
use super::work::{Work, count};

/// Few enough for one record of the log; Kubernetes' own figure.
const COUNTED_PER_LOOK_MAX: usize = 500;

/// What the status says from now on, and the pods that need no longer wait for that.
pub(super) struct Count<'a> {
    pub(super) released: Vec<&'a Object>,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) done: Indexes,
    /// Whether nobody is left who waits.
    pub(super) is_all: bool,
}

/// What is counted. Once the job is over, or on its way out, nobody waits any longer.
pub(super) fn of<'a>(work: &Work<'a>, tally: &Tally, verdict: Option<&Verdict>) -> Count<'a> {
    let status = work.status().cloned().unwrap_or_default();
    let noted = status.uncounted_terminated_pods.unwrap_or_default();
    let noted_succeeded = noted.succeeded.unwrap_or_default();
    let noted_failed = noted.failed.unwrap_or_default();
    let known: HashSet<&str> = noted_succeeded.iter().chain(&noted_failed).map(String::as_str).collect();
    let done = Indexes::read(status.completed_indexes.as_deref().unwrap_or_default(), work.completions().unwrap_or(0));
    let mut sum = Count {
        released: Vec::new(),
        succeeded: count(status.succeeded.unwrap_or(0)) + noted_succeeded.len(),
        failed: count(status.failed.unwrap_or(0)) + noted_failed.len(),
        done: if work.is_indexed() { done } else { Indexes::default() },
        is_all: true,
    };
    let is_over = verdict.is_some() || work.object.meta().is_terminating();
    let waiting = work.members.iter().enumerate().filter(|(_, member)| member.is_tracked());
    let free = waiting.filter(|(place, member)| {
        let is_retried = || work.index(member).and_then(|index| tally.retried.get(&index)) == Some(place);
        let has_ended = member.has_succeeded() || member.has_failed();
        if is_over { has_ended || member.is_leaving() } else { has_ended && !is_retried() }
    });
    for (_, member) in free {
        if sum.released.len() == COUNTED_PER_LOOK_MAX {
            sum.is_all = false;
            break;
        }
        sum.released.push(member.object);
        if !known.contains(&*member.object.meta().uid) {
            add(&mut sum, work, member, verdict);
        }
    }
    if work.is_indexed() {
        sum.succeeded = sum.done.len();
    }
    sum
}

fn add(sum: &mut Count<'_>, work: &Work<'_>, member: &Member<'_>, verdict: Option<&Verdict>) {
    // Who still runs when the job has failed has failed with it.
    let fails_too = verdict.is_some_and(|verdict| verdict.outcome == Outcome::Failure);
    if member.has_succeeded() {
        sum.succeeded += 1;
        if let Some(index) = work.index(member) {
            sum.done.insert(index);
        }
    } else if (member.has_failed() || fails_too) && work.counts(member) && is_counted(policy(work), member) {
        sum.failed += 1;
    }
}
