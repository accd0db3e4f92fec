//! How far one look may go: what was proposed lately holds it back, policies say how fast it changes, and the bounds are the end.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

use super::history::History;

/// How long a fall is held back where nobody says.
const DOWN_SECONDS: i32 = 300;
/// Without policies nothing grows faster than to its double, or to this where that is more.
const UP_REPLICAS_MIN: i32 = 4;

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paced {
    pub(super) replicas: i32,
    /// What held it back, as the condition `AbleToScale` tells it.
    pub(super) stabilized: Word,
    /// What bounds it, as the condition `ScalingLimited` tells it.
    pub(super) limit: Word,
    pub(super) is_limited: bool,
}

/// A reason and its message.
pub(super) type Word = (&'static str, &'static str);

const READY: Word = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Word = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Word = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Word = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Word = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Word = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Word = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Word =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

/// How many replicas there are to be now, where `proposed` are.
pub(super) fn paced(
    spec: &HorizontalPodAutoscalerSpec,
    current: i32,
    proposed: i32,
    history: &mut History,
    now: Timestamp,
) -> Paced {
    let behavior = spec.behavior.as_ref();
    let (up, down) = (behavior.and_then(|it| it.scale_up.as_ref()), behavior.and_then(|it| it.scale_down.as_ref()));
    history.propose(proposed, now);
    let (held, stabilized) = match behavior {
        None => {
            let highest = history.proposed_within(DOWN_SECONDS, now).fold(proposed, i32::max);
            (highest, if highest == proposed { READY } else { DOWN_STABILIZED })
        }
        Some(_) => stabilized(current, proposed, window(up, 0), window(down, DOWN_SECONDS), history, now),
    };
    let bounds = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let (replicas, limit) = match behavior {
        None => bounded(current, held, bounds),
        Some(_) if held > current => grown(current, held, bounds.1, limit_up(up, current, history, now)),
        Some(_) if held < current => shrunk(current, held, bounds.0, limit_down(down, current, history, now)),
        Some(_) => (held, WITHIN),
    };
    Paced { replicas, stabilized, limit, is_limited: replicas != held }
}

fn window(rules: Option<&HPAScalingRules>, otherwise: i32) -> i32 {
    rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(otherwise)
}

/// Up no further than the lowest of what was proposed lately, down no further than the highest.
fn stabilized(current: i32, proposed: i32, up: i32, down: i32, history: &History, now: Timestamp) -> (i32, Word) {
    let lowest = history.proposed_within(up, now).fold(proposed, i32::min);
    let highest = history.proposed_within(down, now).fold(proposed, i32::max);
    let held = current.max(lowest).min(highest);
    let word = match held {
        _ if held == proposed => READY,
        _ if proposed >= current => UP_STABILIZED,
        _ => DOWN_STABILIZED,
    };
    (held, word)
}

/// The bounds, where nobody says how fast.
fn bounded(current: i32, held: i32, (least, most): (i32, i32)) -> (i32, Word) {
    let fastest = current.saturating_mul(2).max(UP_REPLICAS_MIN);
    let (highest, word) = if most > fastest { (fastest, UP_LIMIT) } else { (most, TOO_MANY) };
    match held {
        _ if held < least => (least, TOO_FEW),
        _ if held > highest => (highest, word),
        _ => (held, WITHIN),
    }
}

fn grown(current: i32, held: i32, most: i32, fastest: i32) -> (i32, Word) {
    let fastest = fastest.max(current);
    let (highest, word) = if most > fastest { (fastest, UP_LIMIT) } else { (most, TOO_MANY) };
    if held > highest { (highest, word) } else { (held, WITHIN) }
}

fn shrunk(current: i32, held: i32, least: i32, fastest: i32) -> (i32, Word) {
    let fastest = fastest.min(current);
    let (lowest, word) = if least < fastest { (fastest, DOWN_LIMIT) } else { (least, TOO_FEW) };
    if held < lowest { (lowest, word) } else { (held, WITHIN) }
}

/// As many as the policies of growth let there be.
fn limit_up(rules: Option<&HPAScalingRules>, current: i32, history: &History, now: Timestamp) -> i32 {
    let default = [policy("Pods", 4), policy("Percent", 100)];
    let reached = |policy: &HPAScalingPolicy| {
        let start = current.saturating_sub(history.grown_within(policy.period_seconds, now));
        match policy.type_.as_str() {
            "Percent" => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
            _ => start.saturating_add(policy.value),
        }
    };
    let policies = policies(rules, &default).iter().map(reached);
    match select(rules) {
        "Disabled" => Some(current),
        "Min" => policies.min(),
        _ => policies.max(),
    }
    .unwrap_or(current)
}

/// As few as the policies of shrinking let there be.
fn limit_down(rules: Option<&HPAScalingRules>, current: i32, history: &History, now: Timestamp) -> i32 {
    let default = [policy("Percent", 100)];
    let reached = |policy: &HPAScalingPolicy| {
        let start = current.saturating_sub(history.grown_within(policy.period_seconds, now));
        match policy.type_.as_str() {
            "Percent" => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            _ => start.saturating_sub(policy.value),
        }
    };
    let policies = policies(rules, &default).iter().map(reached);
    match select(rules) {
        "Disabled" => Some(current),
        "Min" => policies.max(),
        _ => policies.min(),
    }
    .unwrap_or(current)
}

fn policy(type_: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: type_.into(), value, period_seconds: 15 }
}

fn policies<'a>(rules: Option<&'a HPAScalingRules>, default: &'a [HPAScalingPolicy]) -> &'a [HPAScalingPolicy] {
    rules.and_then(|rules| rules.policies.as_deref()).unwrap_or(default)
}

fn select(rules: Option<&HPAScalingRules>) -> &str {
    rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max")
}
