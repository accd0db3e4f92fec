//! Which pods go first when there are too many: those that have come least far.

use std::cmp::Reverse;

use super::member::Member;
use crate::pods;

/// The pods, first those that would be missed least.
pub(super) fn ranked<'m, 'a>(members: impl Iterator<Item = &'m Member<'a>>) -> Vec<&'m Member<'a>>
where
    'a: 'm,
{
    let mut ranked: Vec<&Member<'_>> = members.collect();
    ranked.sort_by_cached_key(|member| {
        let pod = &member.pod;
        (
            pods::node(pod).is_some(),
            ["Pending", "Unknown", "Running"].iter().position(|phase| *phase == pods::phase(pod)),
            pods::is_ready(pod),
            Reverse(pods::ready_since(pod)),
            Reverse(member.object.meta().creation_timestamp),
            member.object.key().name().to_owned(),
        )
    });
    ranked
}
