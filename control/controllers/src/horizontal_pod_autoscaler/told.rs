//! What an autoscaler says of itself: its status, its conditions and what happened.

use api::Object;
use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricStatus};
use state::{Snapshot, Txn};

use super::pace::Paced;
use crate::Look;
use crate::conditions::{Says, scaler_says};
use crate::record::{Tale, Tone, told, told_since};

/// What a look has to say.
pub(super) struct Account {
    /// How many replicas the target was to have.
    pub(super) current: i32,
    /// How many it is to have.
    pub(super) desired: i32,
    pub(super) rescaled: bool,
    /// What was found of each metric.
    pub(super) metrics: Option<Vec<MetricStatus>>,
    conditions: Vec<(&'static str, bool, String, String)>,
    tales: Vec<(Tone, &'static str, String)>,
}

/// A trouble that lasts is not told more often than this.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(5);

// === impl Account ===

impl Account {
    /// Nothing new yet.
    pub(super) fn of(scaler: &HorizontalPodAutoscaler) -> Self {
        let status = scaler.status.as_ref();
        Self {
            current: status.and_then(|status| status.current_replicas).unwrap_or(0),
            desired: status.map_or(0, |status| status.desired_replicas),
            rescaled: false,
            metrics: status.and_then(|status| status.current_metrics.clone()),
            conditions: Vec::new(),
            tales: Vec::new(),
        }
    }

    /// A condition; what is said later of the same one counts.
    pub(super) fn says(&mut self, kind: &'static str, holds: bool, reason: &str, message: &str) {
        self.conditions.retain(|(said, ..)| *said != kind);
        self.conditions.push((kind, holds, reason.to_owned(), message.to_owned()));
    }

    /// A metric proposed something.
    pub(super) fn found(&mut self, metric: &str) {
        let told = format!("the HPA was able to successfully calculate a replica count from {metric}");
        self.says("ScalingActive", true, "ValidMetricFound", &told);
    }

    /// What became of that.
    pub(super) fn paced(&mut self, paced: &Paced) {
        self.says("AbleToScale", true, paced.stabilized.0, paced.stabilized.1);
        self.says("ScalingLimited", paced.is_limited, paced.limit.0, paced.limit.1);
    }

    /// Something that happened.
    pub(super) fn tells(&mut self, reason: &'static str, message: &str) {
        self.tales.push((Tone::Normal, reason, message.to_owned()));
    }

    /// A trouble.
    pub(super) fn warns(&mut self, reason: &'static str, message: &str) {
        self.tales.push((Tone::Warning, reason, message.to_owned()));
    }

    /// Writes the status.
    pub(super) fn keep(&self, scaler: &mut HorizontalPodAutoscaler, look: Look<'_>) {
        let before = scaler.status.take().unwrap_or_default();
        let mut conditions = before.conditions;
        for (kind, holds, reason, message) in &self.conditions {
            let status = if *holds { "True" } else { "False" };
            scaler_says(&mut conditions, Says { kind, status, reason, message }, &look.time());
        }
        scaler.status = Some(HorizontalPodAutoscalerStatus {
            conditions,
            current_metrics: self.metrics.clone(),
            current_replicas: Some(self.current),
            desired_replicas: self.desired,
            last_scale_time: if self.rescaled { Some(look.time()) } else { before.last_scale_time },
            observed_generation: scaler.metadata.generation,
        });
    }

    /// The events.
    pub(super) fn tales(&self, object: &Object, view: &Snapshot, look: Look<'_>) -> Vec<Txn> {
        let txn = |(tone, reason, message): &(Tone, &'static str, String)| {
            let tale = Tale { by: "horizontal-pod-autoscaler", tone: *tone, reason, message };
            let known = *tone == Tone::Warning && told_since(view, object, &tale, look.now - TOLD_AGAIN);
            if known { Txn::default() } else { told(view, look, object, &tale) }
        };
        self.tales.iter().map(txn).collect()
    }
}
