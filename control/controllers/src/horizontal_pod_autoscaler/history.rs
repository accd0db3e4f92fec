//! What an autoscaler proposed lately, and how it changed its target: what stabilization and pace are judged by.
//!
//! It lies in an annotation, so that it is a part of the world as all else is. Only changes are written down: a proposal stands
//! until the next one that is different.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde::{Deserialize, Serialize};

use super::PERIOD;

/// Where it lies.
const ANNOTATION: &str = "autoscaling.coracle.dev/history";
/// As far back as any autoscaler may look.
const KEPT: SignedDuration = SignedDuration::from_secs(3600);

/// Times in milliseconds since the epoch, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct History {
    /// Since when how many replicas were proposed.
    proposed: Vec<(i64, i32)>,
    /// When how many replicas came, or went.
    scaled: Vec<(i64, i32)>,
}

// === impl History ===

impl History {
    /// What an autoscaler remembers; what somebody else wrote there is nothing.
    pub(super) fn of(scaler: &HorizontalPodAutoscaler) -> Self {
        let annotations = scaler.metadata.annotations.as_ref();
        let text = annotations.and_then(|annotations| annotations.get(ANNOTATION));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Writes it down.
    pub(super) fn keep(&self, scaler: &mut HorizontalPodAutoscaler) {
        let annotations = scaler.metadata.annotations.get_or_insert_default();
        match serde_json::to_string(self) {
            Ok(text) if *self != Self::default() => drop(annotations.insert(ANNOTATION.into(), text)),
            _ => drop(annotations.remove(ANNOTATION)),
        }
        if annotations.is_empty() {
            scaler.metadata.annotations = None;
        }
    }

    /// What was there when it began counts as proposed.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.proposed.is_empty() {
            self.propose(current, now);
        }
    }

    /// So many replicas are proposed from now on.
    pub(super) fn propose(&mut self, replicas: i32, now: Timestamp) {
        if self.proposed.last().is_some_and(|(_, last)| *last == replicas) {
            return;
        }
        self.proposed.push((now.as_millisecond(), replicas));
        let oldest = (now - KEPT).as_millisecond();
        let gone = self.proposed.windows(2).take_while(|pair| pair[1].0 <= oldest).count();
        self.proposed.drain(..gone);
    }

    /// The target got so many more, or fewer.
    pub(super) fn scaled(&mut self, by: i32, now: Timestamp) {
        let oldest = (now - KEPT).as_millisecond();
        self.scaled.retain(|(at, _)| *at > oldest);
        self.scaled.push((now.as_millisecond(), by));
    }

    /// What was proposed within so many seconds. A proposal was made for the last time one look before the next one.
    pub(super) fn proposed_within(&self, seconds: i32, now: Timestamp) -> impl Iterator<Item = i32> {
        let after = (now - SignedDuration::from_secs(seconds.into())).as_millisecond();
        let until = move |index: usize| match self.proposed.get(index + 1) {
            Some((next, _)) => (next - PERIOD.as_millis() as i64).max(self.proposed[index].0),
            None => now.as_millisecond(),
        };
        let lately = (0..self.proposed.len()).filter(move |index| until(*index) > after);
        lately.map(|index| self.proposed[index].1)
    }

    /// How many replicas came within so many seconds, less those that went.
    pub(super) fn grown_within(&self, seconds: i32, now: Timestamp) -> i32 {
        let after = (now - SignedDuration::from_secs(seconds.into())).as_millisecond();
        self.scaled.iter().filter(|(at, _)| *at > after).map(|(_, by)| *by).fold(0, i32::saturating_add)
    }
}
