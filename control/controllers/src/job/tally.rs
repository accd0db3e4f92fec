//! How many pods of a job are in which state, those that are counted already and those that are not.

use std::collections::BTreeMap;

use super::failure_policy::{self, Judgement, Rule};
use super::indexes::Indexes;
use super::member::Member;
use super::work::{Work, count};
use crate::pods;

/// What the pods come to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) active: usize,
    pub(super) ready: usize,
    /// Told to end, and not ended yet.
    pub(super) leaving: usize,
    /// Successes; of an indexed job, indexes.
    pub(super) succeeded: usize,
    /// Failures that are not ignored, also of pods that are not counted yet.
    pub(super) failed: usize,
    /// The indexes that have succeeded.
    pub(super) done: Indexes,
    /// The indexes that have failed for good.
    pub(super) lost: Indexes,
    /// The last failed pod of each index that is to be tried again, by its place among the members: it tells how often the
    /// index has failed, so it is counted only when the next pod of that index tells it.
    pub(super) retried: BTreeMap<u32, usize>,
}

// === impl Tally ===

impl Tally {
    pub(super) fn of(work: &Work<'_>) -> Self {
        let status = work.status().cloned().unwrap_or_default();
        let noted = status.uncounted_terminated_pods.unwrap_or_default();
        let noted_succeeded = noted.succeeded.unwrap_or_default();
        let noted_failed = noted.failed.unwrap_or_default();
        let is_noted = |member: &Member<'_>| {
            let uid = &*member.object.meta().uid;
            noted_succeeded.iter().chain(&noted_failed).any(|it| it == uid)
        };
        let waiting = || work.members.iter().filter(|it| it.is_tracked() && work.counts(it) && !is_noted(it));
        let of = |which: &dyn Fn(&Member<'_>) -> bool| work.members.iter().filter(|member| which(member)).count();
        let mut tally = Self {
            active: of(&|member| member.is_active()),
            ready: of(&|member| member.is_active() && pods::is_ready(&member.pod)),
            leaving: of(&|member| member.is_leaving()),
            succeeded: count(status.succeeded.unwrap_or(0)) + noted_succeeded.len(),
            failed: count(status.failed.unwrap_or(0)) + noted_failed.len(),
            ..Self::default()
        };
        tally.succeeded += waiting().filter(|member| member.has_succeeded()).count();
        let failures = waiting().filter(|member| member.has_failed());
        tally.failed += failures.filter(|it| is_counted(policy(work), it)).count();
        if let (true, Some(completions)) = (work.is_indexed(), work.completions()) {
            tally.done = Indexes::read(status.completed_indexes.as_deref().unwrap_or_default(), completions);
            let succeeded = waiting().filter(|member| member.has_succeeded());
            tally.done.extend(&succeeded.filter_map(|member| work.index(member)).collect());
            tally.succeeded = tally.done.len();
            if let Some(limit) = work.limit_per_index() {
                tally.lost = Indexes::read(status.failed_indexes.as_deref().unwrap_or_default(), completions);
                let lost = waiting().filter(|member| member.has_failed() && is_last(policy(work), member, limit));
                tally.lost.extend(&lost.filter_map(|member| work.index(member)).collect());
                tally.retried = tally.retried(work);
            }
        }
        tally
    }

    fn retried(&self, work: &Work<'_>) -> BTreeMap<u32, usize> {
        let active: Indexes =
            work.members.iter().filter(|member| member.is_active()).filter_map(|member| work.index(member)).collect();
        let mut retried = BTreeMap::new();
        for (place, member) in work.members.iter().enumerate().filter(|(_, it)| it.is_tracked() && it.has_failed()) {
            let Some(index) = work.index(member) else { continue };
            if active.contains(index) || self.done.contains(index) || self.lost.contains(index) {
                continue;
            }
            let tries = |place: usize| {
                let (counted, ignored) = work.members[place].failures_before();
                counted + ignored
            };
            if retried.get(&index).is_none_or(|known| tries(*known) <= tries(place)) {
                retried.insert(index, place);
            }
        }
        retried
    }
}

/// The rules of the job about failures.
pub(super) fn policy<'w>(work: &'w Work<'_>) -> &'w [Rule] {
    work.spec().pod_failure_policy.as_ref().map_or(&[], |policy| &policy.rules)
}

/// Whether a failed pod counts as a failure.
pub(super) fn is_counted(policy: &[Rule], member: &Member<'_>) -> bool {
    failure_policy::judge(policy, &member.pod) != Judgement::Ignored
}

/// Whether this failure is the last that its index may have.
fn is_last(policy: &[Rule], member: &Member<'_>, limit: usize) -> bool {
    match failure_policy::judge(policy, &member.pod) {
        Judgement::IndexLost => true,
        Judgement::Ignored => false,
        Judgement::Counted | Judgement::JobLost(_) => member.failures_before().0 >= limit,
    }
}
