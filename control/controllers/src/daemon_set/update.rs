//! A rolling update: old pods go as far as nodes may be without one, or new ones come beside them as far as the surge allows.

use k8s_openapi::api::apps::v1::RollingUpdateDaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::crew::{Crew, Daemon};
use super::steps::{Steps, Why};
use crate::share;

/// The bounds of an update, in nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// How many may have two pods.
    surge: usize,
    /// How many may have none that serves.
    unavailable: usize,
}

/// Whether new pods come before the old ones go.
pub(super) fn surges(crew: &Crew<'_>) -> bool {
    bounds(crew).is_some_and(|bounds| bounds.surge > 0)
}

/// What an update does next, on nodes that have what they are to have.
pub(super) fn add<'r, 'a>(crew: &'r Crew<'a>, steps: &mut Steps<'r, 'a>) {
    match bounds(crew) {
        None => {}
        Some(Bounds { surge: 0, unavailable }) => replace(crew, unavailable, steps),
        Some(Bounds { surge, .. }) => accompany(crew, surge, steps),
    }
}

/// Nothing if pods are updated when people delete them.
fn bounds(crew: &Crew<'_>) -> Option<Bounds> {
    let strategy = crew.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone());
    let RollingUpdateDaemonSet { max_surge, max_unavailable } = rolling.unwrap_or_default();
    let wanted = i32::try_from(crew.manned().count()).unwrap_or(i32::MAX);
    let of = |value: Option<IntOrString>, default: i32| share::up(&value.unwrap_or(IntOrString::Int(default)), wanted);
    let (surge, unavailable) = (of(max_surge, 0), of(max_unavailable, 1));
    // Never both none, for then nothing could move.
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    let count = |count: i32| usize::try_from(count).unwrap_or(0);
    Some(Bounds { surge: count(surge), unavailable: count(unavailable) })
}

/// Old pods that serve nobody go at once, and of the others as many as may.
fn replace<'r, 'a>(crew: &'r Crew<'a>, unavailable: usize, steps: &mut Steps<'r, 'a>) {
    let missing = crew.manned().filter(|(_, post)| !post.is_served()).count();
    let outdated = crew.manned().filter_map(|(_, post)| match post.generations() {
        (Some(old), None) => Some(old),
        _ => None,
    });
    let (useful, useless): (Vec<&Daemon<'_>>, Vec<&Daemon<'_>>) = outdated.partition(|daemon| daemon.is_available());
    let spare = unavailable.saturating_sub(missing);
    steps.remove.extend(useless.into_iter().chain(useful.into_iter().take(spare)).map(|old| (old, Why::Excess)));
}

/// New pods come beside old ones: at once where the old one serves nobody, and of the others as many as may.
fn accompany<'r, 'a>(crew: &'r Crew<'a>, surge: usize, steps: &mut Steps<'r, 'a>) {
    let accompanied = crew.manned().filter(|(_, post)| matches!(post.generations(), (Some(_), Some(_)))).count();
    let alone = crew.manned().filter(|(_, post)| matches!(post.generations(), (Some(_), None)));
    let (served, unserved): (Vec<_>, Vec<_>) = alone.partition(|(_, post)| post.is_served());
    let spare = surge.saturating_sub(accompanied);
    steps.make.extend(unserved.into_iter().chain(served.into_iter().take(spare)).map(|(node, _)| node));
}
