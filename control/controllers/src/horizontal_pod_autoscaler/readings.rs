//! What was measured of pods, as it lies in the world.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use api::{Key, Kind, measured};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use state::Snapshot;

use super::target::Read;

/// One figure of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// In thousandths of whatever is measured.
    pub(super) milli: i64,
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
}

/// By the name of the pod.
pub(super) type Readings = BTreeMap<String, Reading>;

/// What pods use of a resource, all their containers or one.
pub(super) fn of_resource(pods: &[Read<'_>], resource: &str, container: Option<&str>, view: &Snapshot) -> Readings {
    let of = |key: &Key| {
        let figures = view.get(&measured::PODS.group_kind().key(key.namespace(), key.name()))?;
        let value: Value = serde_json::from_slice(figures.body()).ok()?;
        let counted = |one: &&Value| container.is_none_or(|name| one["name"] == name);
        let mut used = value["containers"].as_array()?.iter().filter(counted).peekable();
        used.peek()?;
        let used = used.map(|one| one["usage"][resource].as_str()?.parse::<Quantity>().ok());
        let milli = used.sum::<Option<Quantity>>()?.milli_value();
        Some(Reading { milli, at: at(&value["timestamp"])?, window: seconds(value["window"].as_str()?)? })
    };
    readings(pods, of)
}

/// A figure that pods have of their own.
pub(super) fn of_metric(pods: &[Read<'_>], metric: &str, view: &Snapshot) -> Readings {
    readings(pods, |key| figure(view, "pods", key, metric))
}

/// A figure of one object.
pub(super) fn figure(view: &Snapshot, plural: &str, of: &Key, metric: &str) -> Option<Reading> {
    let found = view.get(&measured::figure_key(plural, of.namespace(), of.name(), metric))?;
    let value: Value = serde_json::from_slice(found.body()).ok()?;
    let milli = value["value"].as_str()?.parse::<Quantity>().ok()?.milli_value();
    let window = SignedDuration::from_secs(value["windowSeconds"].as_i64().unwrap_or(0));
    Some(Reading { milli, at: at(&value["timestamp"])?, window })
}

fn readings(pods: &[Read<'_>], of: impl Fn(&Key) -> Option<Reading>) -> Readings {
    pods.iter().filter_map(|(object, _)| Some((object.key().name().to_owned(), of(object.key())?))).collect()
}

fn at(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `15.250s`, as windows are written.
fn seconds(text: &str) -> Option<SignedDuration> {
    SignedDuration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}
