//! What each metric proposes, and what all of them do together: the most, unless less than that is known.

use api::quantity::Quantity;
use api::{Key, Object, kinds, measured};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, PodsMetricSource, PodsMetricStatus, ResourceMetricStatus,
};
use state::Snapshot;

use super::aim::{Aim, Found, proposed};
use super::demand::Wish;
use super::readings::{self, Readings};
use super::target::{Read, Target};
use super::told::Account;
use crate::Look;

/// What is asked, of what, in which world.
pub(super) struct Asked<'a> {
    pub(super) spec: &'a HorizontalPodAutoscalerSpec,
    pub(super) target: &'a Target<'a>,
    pub(super) wish: Wish,
    pub(super) view: &'a Snapshot,
    pub(super) look: Look<'a>,
}

/// So many replicas, because of a metric that is called so.
#[derive(Clone, Debug)]
pub(super) struct Proposed {
    pub(super) replicas: i32,
    pub(super) metric: String,
}

/// Why a metric proposes nothing.
struct Unknown {
    reason: &'static str,
    /// What failed, for the condition; and whose failure that is, for the sum of all.
    why: String,
    of: String,
}

impl Asked<'_> {
    /// What all metrics propose; `None` where what is known does not suffice, which is then told.
    pub(super) fn replicas(&self, object: &Object, account: &mut Account) -> Option<Proposed> {
        let pods = match self.pods(object) {
            Ok(pods) => pods,
            Err((reason, told, why)) => {
                account.says("ScalingActive", false, reason, &told);
                account.warns(reason, &why);
                account.warns("FailedComputeMetricsReplicas", &why);
                return None;
            }
        };
        let metrics = self.spec.metrics.as_deref().unwrap_or_default();
        let mut statuses = Vec::with_capacity(metrics.len());
        let (mut best, mut first_unknown, mut unknown) = (None::<Proposed>, None::<Unknown>, 0);
        for metric in metrics {
            match self.of_metric(metric, &pods) {
                Ok((proposed, status)) => {
                    statuses.push(status);
                    if best.as_ref().is_none_or(|best| proposed.replicas > best.replicas) {
                        best = Some(proposed);
                    }
                }
                Err(why) => {
                    statuses.push(MetricStatus::default());
                    account.warns(why.reason, &why.why);
                    unknown += 1;
                    first_unknown.get_or_insert(why);
                }
            }
        }
        account.metrics = Some(statuses);
        // What is not known might have asked for more: on that ground nobody goes.
        match (best, first_unknown) {
            (Some(best), None) => {
                account.found(&best.metric);
                Some(best)
            }
            (Some(best), Some(_)) if best.replicas >= self.target.wanted => {
                account.found(&best.metric);
                Some(best)
            }
            (_, Some(why)) => {
                let told = format!("the HPA was unable to compute the replica count: {}", why.why);
                account.says("ScalingActive", false, why.reason, &told);
                let sum = format!("invalid metrics ({unknown} invalid out of {}), first error is: ", metrics.len());
                account.warns("FailedComputeMetricsReplicas", &format!("{sum}{}: {}", why.of, why.why));
                None
            }
            (None, None) => None,
        }
    }

    /// The pods that are judged, or a reason, what the condition says, and why.
    fn pods(&self, object: &Object) -> Result<Vec<Read<'_>>, (&'static str, String, String)> {
        let selector = &self.target.selector;
        if selector.is_empty() {
            let told = "the HPA target's scale is missing a selector".to_owned();
            return Err(("InvalidSelector", told, "selector is required".to_owned()));
        }
        let pods = self.target.pods(self.view).map_err(|error| {
            let why = format!("couldn't convert selector into a corresponding internal selector object: {error}");
            ("InvalidSelector", why.clone(), why)
        })?;
        let rivals = self.rivals(object, &pods);
        if !rivals.is_empty() {
            let rivals = rivals.join(" ");
            let why = format!("pods by selector {selector} are controlled by multiple HPAs: [{rivals}]");
            return Err(("AmbiguousSelector", why.clone(), why));
        }
        Ok(pods)
    }

    /// Every autoscaler that scales one of these pods, if this one is not alone.
    fn rivals(&self, object: &Object, pods: &[Read<'_>]) -> Vec<String> {
        let namespace = object.key().namespace();
        let of_another = |other: &&Object| {
            let scaler = other.decode::<HorizontalPodAutoscaler>().ok();
            let reference = scaler.as_ref().and_then(|it| Some(&it.spec.as_ref()?.scale_target_ref));
            let target = reference.and_then(|it| Target::find(it, namespace, self.view).ok());
            let theirs = target.and_then(|target| target.pods(self.view).ok()).unwrap_or_default();
            theirs.iter().any(|(pod, _)| pods.iter().any(|(own, _)| own.key() == pod.key()))
        };
        let others = self.view.list_in(kinds::HORIZONTAL_POD_AUTOSCALER, namespace);
        let others = others.filter(|other| other.key() != object.key() && !other.meta().is_terminating());
        let mut rivals: Vec<&Key> = others.filter(of_another).map(Object::key).collect();
        if !rivals.is_empty() {
            rivals.push(object.key());
            rivals.sort();
        }
        rivals.into_iter().map(|key| format!("{}/{}", key.namespace(), key.name())).collect()
    }

    fn of_metric(&self, metric: &MetricSpec, pods: &[Read<'_>]) -> Result<(Proposed, MetricStatus), Unknown> {
        let status = MetricStatus { type_: metric.type_.clone(), ..MetricStatus::default() };
        if let Some(source) = &metric.resource {
            let unknown = Unknown::of("FailedGetResourceMetric", format!("{} resource metric value", source.name));
            let (proposed, current) = self.of_use(&source.name, None, &source.target, pods).map_err(unknown)?;
            let resource = Some(ResourceMetricStatus { name: source.name.clone(), current });
            return Ok((proposed, MetricStatus { resource, ..status }));
        }
        if let Some(source) = &metric.container_resource {
            let of = format!("{} container metric value", source.name);
            let unknown = Unknown::of("FailedGetContainerResourceMetric", of);
            let container = source.container.clone();
            let found = self.of_use(&source.name, Some(&container), &source.target, pods).map_err(unknown)?;
            let (proposed, current) = found;
            let container_resource =
                Some(ContainerResourceMetricStatus { container, name: source.name.clone(), current });
            return Ok((proposed, MetricStatus { container_resource, ..status }));
        }
        if let Some(source) = &metric.pods {
            let unknown = Unknown::of("FailedGetPodsMetric", "pods metric value".to_owned());
            let (proposed, current) = self.of_pods(source, pods).map_err(unknown)?;
            let of_pods = Some(PodsMetricStatus { metric: source.metric.clone(), current });
            return Ok((proposed, MetricStatus { pods: of_pods, ..status }));
        }
        // Nobody in the cluster tells figures of other objects, or of what is outside.
        if let Some(source) = &metric.object {
            let (name, of) = (&source.metric.name, &source.described_object);
            let on = format!("on {} {}/{}", self.target.object.key().namespace(), of.kind, of.name);
            let why = format!("unable to get metric {name}: no metrics returned from custom metrics API {on}");
            return Err(Unknown::of("FailedGetObjectMetric", "object metric value".to_owned())(why));
        }
        if let Some(source) = &metric.external {
            let (name, namespace) = (&source.metric.name, self.target.object.key().namespace());
            let none =
                "unable to fetch metrics from external metrics API: the server could not find the requested resource";
            let why = format!("unable to get external metric {namespace}/{name}: {none}");
            return Err(Unknown::of("FailedGetExternalMetric", format!("{name} external metric value"))(why));
        }
        let why = format!("unknown metric source type {:?}", metric.type_);
        Err(Unknown::of("InvalidMetricSourceType", "metric".to_owned())(why))
    }

    /// What pods use of a resource, as a share of what they ask for or as an amount.
    fn of_use(
        &self,
        resource: &str,
        container: Option<&str>,
        target: &MetricTarget,
        pods: &[Read<'_>],
    ) -> Result<(Proposed, MetricValueStatus), String> {
        let (what, aimed) = match (&target.average_value, target.average_utilization) {
            (Some(amount), _) => ("usage", Aim::Average { milli: Quantity::of(amount).milli_value() }),
            (None, Some(percent)) => {
                let failed = |why: String| format!("failed to get {resource} utilization: {why}");
                let aim = Aim::utilization(percent, pods, resource, container);
                ("utilization", aim.map_err(failed)?)
            }
            (None, None) => return Err("neither utilization nor averageValue is aimed at".to_owned()),
        };
        let failed = |why: String| format!("failed to get {resource} {what}: {why}");
        let readings = readings::of_resource(pods, resource, container, self.view);
        if readings.is_empty() {
            let api = "no metrics returned from resource metrics API";
            return Err(failed(format!("unable to get metrics for resource {resource}: {api}")));
        }
        let (replicas, found) = self.proposed(&aimed, resource == "cpu", pods, readings).map_err(failed)?;
        let kind = if container.is_some() { "container resource" } else { "resource" };
        let share = if found.percent.is_some() { " utilization (percentage of request)" } else { "" };
        Ok((Proposed { replicas, metric: format!("{resource} {kind}{share}") }, value(found)))
    }

    /// What pods are asked. Where there are none, whoever waits is what there is to go by.
    fn of_pods(&self, source: &PodsMetricSource, pods: &[Read<'_>]) -> Result<(Proposed, MetricValueStatus), String> {
        let MetricIdentifier { name, selector } = &source.metric;
        let none = || format!("unable to get metric {name}: no metrics returned from custom metrics API");
        let milli = source.target.average_value.as_ref().map_or(0, |amount| Quantity::of(amount).milli_value());
        let metric = format!("pods metric {name}");
        let is_measured = matches!(name.as_str(), measured::REQUESTS_PER_SECOND | measured::REQUESTS_IN_FLIGHT);
        // What is measured here has no labels that one figure could be told from another by.
        if milli <= 0 || !is_measured || selector.is_some() {
            return Err(none());
        }
        if self.target.wanted == 0 {
            let replicas = i32::try_from((self.wish.waiting_milli + milli - 1) / milli).unwrap_or(i32::MAX);
            let current = MetricValueStatus { average_value: Some(Quantity::ZERO.into()), ..Default::default() };
            return Ok((Proposed { replicas, metric }, current));
        }
        let readings = readings::of_metric(pods, name, self.view);
        if readings.is_empty() {
            return Err(none());
        }
        let (replicas, found) = self.proposed(&Aim::Average { milli }, false, pods, readings)?;
        Ok((Proposed { replicas, metric }, value(found)))
    }

    fn proposed(
        &self,
        aim: &Aim,
        of_processor: bool,
        pods: &[Read<'_>],
        readings: Readings,
    ) -> Result<(i32, Found), String> {
        proposed(self.target.wanted, aim, of_processor, pods, readings, self.look.now)
    }
}

fn value(found: Found) -> MetricValueStatus {
    let average_value = Some(Quantity::millis(found.average_milli).into());
    MetricValueStatus { average_utilization: found.percent, average_value, value: None }
}

// === impl Unknown ===

impl Unknown {
    fn of(reason: &'static str, of: String) -> impl FnOnce(String) -> Self {
        move |why| Self { reason, why, of: format!("failed to get {of}") }
    }
}
