//! What an autoscaler may measure, and how fast it may act.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::quantity::Quantity;
use crate::rules::{self, Causes};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// An hour is as far as an autoscaler looks back.
const WINDOW_SECONDS_MAX: i32 = 3600;
const PERIOD_SECONDS_MAX: i32 = 1800;

/// Everything wrong with an autoscaler's spec.
pub(super) fn validate(spec: &HorizontalPodAutoscalerSpec, causes: &mut Causes) {
    if let Some(least) = spec.min_replicas.filter(|least| *least < 0) {
        causes.invalid("spec.minReplicas", least, "must be greater than or equal to 0");
    }
    if spec.max_replicas < 1 {
        causes.invalid("spec.maxReplicas", spec.max_replicas, "must be greater than 0");
    }
    if spec.min_replicas.is_some_and(|least| spec.max_replicas < least) {
        causes.invalid("spec.maxReplicas", spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    reference("spec.scaleTargetRef", &spec.scale_target_ref, causes);
    for (index, metric) in spec.metrics.iter().flatten().enumerate() {
        validate_metric(&format!("spec.metrics[{index}]"), metric, causes);
    }
    // What pods use tells nothing once there are none.
    let tells_of_none = |metric: &MetricSpec| matches!(metric.type_.as_str(), "Pods" | "Object" | "External");
    if spec.min_replicas == Some(0) && !spec.metrics.iter().flatten().any(tells_of_none) {
        let detail = "must specify at least one Pods, Object or External metric to support scaling to zero replicas";
        causes.forbidden("spec.metrics", detail);
    }
    if let Some(behavior) = &spec.behavior {
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                validate_pace(&format!("spec.behavior.{field}"), rules, causes);
            }
        }
    }
}

fn reference(path: &str, reference: &CrossVersionObjectReference, causes: &mut Causes) {
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        let path = format!("{path}.{field}");
        if value.is_empty() {
            causes.required(path, "");
        } else {
            rules::NameRule::PathSegment.check(&path, value, causes);
        }
    }
}

fn validate_metric(path: &str, metric: &MetricSpec, causes: &mut Causes) {
    if metric.type_.is_empty() {
        causes.required(format!("{path}.type"), "must specify a metric source type");
    }
    if !TYPES.contains(&metric.type_.as_str()) {
        causes.unsupported(format!("{path}.type"), &metric.type_, TYPES);
    }
    let present = [
        ("object", metric.object.is_some()),
        ("external", metric.external.is_some()),
        ("pods", metric.pods.is_some()),
        ("resource", metric.resource.is_some()),
        ("containerResource", metric.container_resource.is_some()),
    ];
    let present: Vec<&str> = present.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect();
    if let [one] = present[..] {
        validate_source(&format!("{path}.{one}"), metric, causes);
    }
    let mut expected = metric.type_.clone();
    expected[..1.min(metric.type_.len())].make_ascii_lowercase();
    if !TYPES.contains(&metric.type_.as_str()) {
        // Kubernetes tells it a second time where it looks for the source.
        causes.unsupported(format!("{path}.type"), &metric.type_, TYPES);
    } else if !present.contains(&expected.as_str()) {
        let detail = "must populate information for the given metric source";
        causes.required(format!("{path}.{expected}"), detail);
    }
    for other in present.iter().filter(|one| present.len() > 1 && **one != expected) {
        causes.forbidden(format!("{path}.{other}"), "must populate the given metric source only");
    }
}

/// The one source that `metric` has, at `path`.
fn validate_source(path: &str, metric: &MetricSpec, causes: &mut Causes) {
    let required = |causes: &mut Causes, field: &str, value: &str, what: &str| {
        if value.is_empty() {
            causes.required(format!("{path}.{field}"), &format!("must specify a {what}"));
        }
    };
    if let Some(source) = &metric.object {
        reference(&format!("{path}.describedObject"), &source.described_object, causes);
        required(causes, "metric.name", &source.metric.name, "metric name");
        validate_target(path, &source.target, causes);
        if source.target.value.is_none() && source.target.average_value.is_none() {
            causes.required(format!("{path}.target.averageValue"), "must set either a target value or averageValue");
        }
    }
    if let Some(source) = &metric.external {
        required(causes, "metric.name", &source.metric.name, "metric name");
        validate_target(path, &source.target, causes);
        match (&source.target.value, &source.target.average_value) {
            (None, None) => {
                let detail = "must set either a target value for metric or a per-pod target";
                causes.required(format!("{path}.target.averageValue"), detail);
            }
            (Some(_), Some(_)) => {
                let detail = "may not set both a target value for metric and a per-pod target";
                causes.forbidden(format!("{path}.target.value"), detail);
            }
            _ => {}
        }
    }
    if let Some(source) = &metric.pods {
        required(causes, "metric.name", &source.metric.name, "metric name");
        validate_target(path, &source.target, causes);
        if source.target.average_value.is_none() {
            let detail = "must specify a positive target averageValue";
            causes.required(format!("{path}.target.averageValue"), detail);
        }
    }
    if let Some(source) = &metric.resource {
        required(causes, "name", &source.name, "resource name");
        validate_target(path, &source.target, causes);
        validate_use(path, &source.target, causes);
    }
    if let Some(source) = &metric.container_resource {
        required(causes, "name", &source.name, "resource name");
        required(causes, "container", &source.container, "container");
        validate_target(path, &source.target, causes);
        validate_use(path, &source.target, causes);
    }
}

fn validate_target(path: &str, target: &MetricTarget, causes: &mut Causes) {
    let path = format!("{path}.target");
    match target.type_.as_str() {
        "" => causes.required(format!("{path}.type"), "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            causes.invalid(format!("{path}.type"), other, "must be either Utilization, Value, or AverageValue");
        }
    }
    for (field, amount) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(amount) = amount.as_ref().filter(|amount: &&Written| Quantity::of(amount) <= Quantity::ZERO) {
            causes.invalid(format!("{path}.{field}"), &amount.0, "must be positive");
        }
    }
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        causes.invalid(format!("{path}.averageUtilization"), percent, "must be greater than 0");
    }
}

/// What pods use of a resource is aimed at as an amount or as a share of what they ask for.
fn validate_use(path: &str, target: &MetricTarget, causes: &mut Causes) {
    match (target.average_utilization, &target.average_value) {
        (None, None) => {
            let detail = "must set either a target raw value or a target utilization";
            causes.required(format!("{path}.target.averageUtilization"), detail);
        }
        (Some(_), Some(_)) => {
            let detail = "may not set both a target raw value and a target utilization";
            causes.forbidden(format!("{path}.target.averageValue"), detail);
        }
        _ => {}
    }
}

fn validate_pace(path: &str, rules: &HPAScalingRules, causes: &mut Causes) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = format!("{path}.stabilizationWindowSeconds");
        if seconds < 0 {
            causes.invalid(path, seconds, "must be greater than or equal to zero");
        } else if seconds > WINDOW_SECONDS_MAX {
            causes.invalid(path, seconds, "must be less than or equal to 3600");
        }
    }
    let select = rules.select_policy.as_deref();
    if let Some(select) = select.filter(|select| !matches!(*select, "Disabled" | "Max" | "Min")) {
        causes.unsupported(format!("{path}.selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        causes.required(format!("{path}.policies"), "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{index}]");
        if !matches!(policy.type_.as_str(), "Percent" | "Pods") {
            causes.unsupported(format!("{path}.type"), &policy.type_, &["Percent", "Pods"]);
        }
        if policy.value <= 0 {
            causes.invalid(format!("{path}.value"), policy.value, "must be greater than zero");
        }
        if policy.period_seconds <= 0 {
            causes.invalid(format!("{path}.periodSeconds"), policy.period_seconds, "must be greater than zero");
        } else if policy.period_seconds > PERIOD_SECONDS_MAX {
            let detail = "must be less than or equal to 1800";
            causes.invalid(format!("{path}.periodSeconds"), policy.period_seconds, detail);
        }
    }
}
