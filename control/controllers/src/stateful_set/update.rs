//! Which pods go for their successors to be made of the new template: from the highest ordinal down to the partition.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ranks::{Member, Ranks};
use crate::share;

/// The pods whose turn it is. As many of all may be missing as the set says, by default one; whoever is missing already counts,
/// below the partition too.
pub(super) fn outdated<'r, 'a>(ranks: &'r Ranks<'a>) -> Vec<&'r Member<'a>> {
    let Some(rolling) = ranks.rolling() else { return Vec::new() };
    let replicas = i32::try_from(ranks.ordinals.end - ranks.ordinals.start).unwrap_or(i32::MAX);
    // Never none, for then nothing could move.
    let most = share::down(&rolling.max_unavailable.unwrap_or(IntOrString::Int(1)), replicas).max(1);
    let is_missing = |member: &Member<'_>| member.is_terminating() || !member.is_available();
    let is_outdated = |member: &Member<'_>| member.revision() != Some(ranks.update.name());
    let wanted = || ranks.members.values().rev().filter(|member| ranks.ordinals.contains(member.ordinal));
    let reached = || wanted().filter(|member| member.ordinal >= ranks.partition() && is_outdated(member));
    // An ordinal that has no pod yet is as one that is unwell.
    let there = wanted().filter(|member| !is_missing(member)).count();
    let count = |count: i32| usize::try_from(count).unwrap_or(0);
    let spare = count(most).saturating_sub(count(replicas).saturating_sub(there));
    // Those that serve nobody cost nothing, and it may be the update that helps them.
    let useless = reached().filter(|member| is_missing(member) && !member.is_terminating());
    let useful = reached().filter(|member| !is_missing(member)).take(spare);
    useless.chain(useful).collect()
}
