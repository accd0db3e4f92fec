//! One pod on each node that is to have one, and none elsewhere.

use jiff::{SignedDuration, Timestamp};

use super::crew::{Crew, Daemon, Post};
use super::eligible::Verdict;
use super::update;
use crate::created::awaits_account;
use crate::pods;

/// Enough for a set to be quick, few enough for one record of the log.
const PODS_PER_LOOK_MAX: usize = 100;
/// A node gets no new pod sooner than this after the last one was made there: one that fails at once would be made anew without end.
const LIFE_MIN: SignedDuration = SignedDuration::from_secs(15);

/// What a set does next.
#[derive(Default)]
pub(super) struct Steps<'r, 'a> {
    /// The nodes that get a pod.
    pub(super) make: Vec<&'r str>,
    /// The pods that go.
    pub(super) remove: Vec<(&'r Daemon<'a>, Why)>,
    /// When there is more to do without anything happening.
    pub(super) again: Option<Timestamp>,
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is not wanted where it is, or not any more.
    Excess,
    /// It has failed.
    Failed,
    /// It has come to an end, which daemons do not.
    Succeeded,
}

/// What is missing, and what is too much.
pub(super) fn next<'r, 'a>(crew: &'r Crew<'a>) -> Steps<'r, 'a> {
    let mut steps = Steps::default();
    let must_wait = awaits_account(crew.spec.template.spec.as_ref(), crew.object.key(), crew.view);
    for (node, post) in &crew.posts {
        match post.verdict {
            Verdict::Leave => steps.remove.extend(living(post).map(|daemon| (daemon, Why::Excess))),
            // While an old pod is there in whatever state, its place is not free.
            Verdict::Run if post.daemons.is_empty() => {
                if !must_wait && steps.make.len() < PODS_PER_LOOK_MAX {
                    steps.make.push(node);
                }
            }
            Verdict::Run | Verdict::Stay => {
                bury(crew, post, &mut steps);
                thin_out(crew, post, &mut steps);
            }
        }
    }
    // Who was for a node that is gone, and never got there, has nowhere to go.
    let waiting = |daemon: &&Daemon<'_>| pods::node(&daemon.pod).is_none() && !daemon.object.meta().is_terminating();
    steps.remove.extend(crew.lost.iter().filter(waiting).map(|daemon| (daemon, Why::Excess)));
    steps
}

fn living<'r, 'a>(post: &'r Post<'a>) -> impl Iterator<Item = &'r Daemon<'a>> {
    post.daemons.iter().filter(|daemon| !daemon.object.meta().is_terminating())
}

/// Those that have ended go, for others to come.
fn bury<'r, 'a>(crew: &'r Crew<'a>, post: &'r Post<'a>, steps: &mut Steps<'r, 'a>) {
    for daemon in living(post).filter(|daemon| pods::has_ended(&daemon.pod)) {
        let failed = pods::phase(&daemon.pod) == "Failed";
        let due = daemon.object.meta().creation_timestamp.map_or(crew.look.now, |made| made + LIFE_MIN);
        if due > crew.look.now {
            steps.again = [steps.again, Some(due)].into_iter().flatten().min();
        } else {
            steps.remove.push((daemon, if failed { Why::Failed } else { Why::Succeeded }));
        }
    }
}

/// Of several, the oldest stays; while an update surges, the oldest of the old and the oldest of the new, until one can do without
/// the other.
fn thin_out<'r, 'a>(crew: &'r Crew<'a>, post: &'r Post<'a>, steps: &mut Steps<'r, 'a>) {
    let kept: Vec<&Daemon<'_>> = if update::surges(crew) {
        match post.generations() {
            (Some(old), Some(new)) if !old.is_ready() || new.is_available() => vec![new],
            (old, new) => old.into_iter().chain(new).collect(),
        }
    } else {
        post.active().take(1).collect()
    };
    let is_kept = |daemon: &&Daemon<'_>| kept.iter().any(|kept| kept.object.key() == daemon.object.key());
    steps.remove.extend(post.active().filter(|daemon| !is_kept(daemon)).map(|daemon| (daemon, Why::Excess)));
}
