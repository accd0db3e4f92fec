//! How many replicas there should be, by what they use.

mod rules;
mod targets;
mod v1;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

pub use v1::HorizontalPodAutoscalersV1;

/// The kind.
#[derive(Debug)]
pub struct HorizontalPodAutoscalers;

/// As much of what its pods ask for as is used, unless it says otherwise.
const UTILIZATION_PERCENT: i32 = 80;

impl Resource for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    const NAMES: &'static Names = &Names {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short: &["hpa"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Reference", "What it scales."),
        text("Targets", "What is measured, of what is aimed at."),
        text("MinPods", "How few pods there may be."),
        integer("MaxPods", "How many pods there may be."),
        integer("Replicas", "How many pods there are."),
        AGE,
    ];

    fn default(scaler: &mut HorizontalPodAutoscaler) {
        let spec = scaler.spec.get_or_insert_default();
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![cpu()]);
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            up.stabilization_window_seconds.get_or_insert(0);
            let quick = |type_: &str, value| HPAScalingPolicy { type_: type_.into(), value, period_seconds: 15 };
            pace(up, vec![quick("Pods", 4), quick("Percent", 100)]);
            pace(behavior.scale_down.get_or_insert_default(), vec![quick("Percent", 100)]);
        }
    }

    fn validate(scaler: &HorizontalPodAutoscaler, causes: &mut Causes) {
        let none = HorizontalPodAutoscalerSpec::default();
        rules::validate(scaler.spec.as_ref().unwrap_or(&none), causes);
    }

    fn cells(scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
        let none = HorizontalPodAutoscalerSpec::default();
        let spec = scaler.spec.as_ref().unwrap_or(&none);
        let status = scaler.status.as_ref();
        let current = status.and_then(|status| status.current_metrics.as_deref()).unwrap_or_default();
        vec![
            cells::name(&scaler.metadata),
            format!("{}/{}", spec.scale_target_ref.kind, spec.scale_target_ref.name).into(),
            targets::written(spec.metrics.as_deref().unwrap_or_default(), current).into(),
            spec.min_replicas.map_or("<unset>".into(), |least| least.to_string().into()),
            spec.max_replicas.into(),
            status.and_then(|status| status.current_replicas).unwrap_or(0).into(),
            cells::age(&scaler.metadata, now),
        ]
    }
}

fn cpu() -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".into(),
        average_utilization: Some(UTILIZATION_PERCENT),
        ..MetricTarget::default()
    };
    let resource = Some(ResourceMetricSource { name: "cpu".into(), target });
    MetricSpec { type_: "Resource".into(), resource, ..MetricSpec::default() }
}

fn pace(rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>) {
    rules.select_policy.get_or_insert_with(|| "Max".into());
    rules.policies.get_or_insert(policies);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::HORIZONTAL_POD_AUTOSCALER as SCALER;

    fn scaler() -> Value {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 5}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let spec = completed(
            SCALER,
            plus(scaler(), "/spec/behavior", json!({"scaleDown": {"stabilizationWindowSeconds": 60}})),
        )["spec"]
            .clone();
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        assert_eq!((&spec["minReplicas"], &spec["metrics"]), (&json!(1), &cpu));
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        assert_eq!(
            spec["behavior"],
            json!({"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]},
                "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [percent]}})
        );
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(SCALER, scaler(), path, wrong), expect);
        check(
            "/spec/minReplicas",
            json!(-1),
            "spec.minReplicas: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            "/spec/minReplicas",
            json!(0),
            "spec.metrics: Forbidden: must specify at least one Pods, Object or External metric to support scaling to zero replicas",
        );
        check(
            "/spec/maxReplicas",
            json!(0),
            "[spec.maxReplicas: Invalid value: 0: must be greater than 0, spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`]",
        );
        check("/spec/scaleTargetRef/name", json!(""), "spec.scaleTargetRef.name: Required value");
        check(
            "/spec/scaleTargetRef/kind",
            json!("a/b"),
            "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
        );
        let metric = |metric: Value| json!([metric]);
        check(
            "/spec/metrics",
            metric(json!({"type": "Resource"})),
            "spec.metrics[0].resource: Required value: must populate information for the given metric source",
        );
        check(
            "/spec/metrics",
            metric(json!({"type": "Weather"})),
            "spec.metrics[0].type: Unsupported value: \"Weather\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
        );
        check(
            "/spec/metrics",
            metric(
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}}),
            ),
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
        );
        check(
            "/spec/metrics",
            metric(
                json!({"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue"}}}),
            ),
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
        );
        check(
            "/spec/behavior",
            json!({"scaleUp": {"stabilizationWindowSeconds": 3601}}),
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
        );
        check(
            "/spec/behavior",
            json!({"scaleDown": {"policies": [{"type": "Half", "value": 0, "periodSeconds": 1801}]}}),
            "[spec.behavior.scaleDown.policies[0].type: Unsupported value: \"Half\": supported values: \"Percent\", \"Pods\", spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero, spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800]",
        );
    }

    #[test]
    fn a_row_tells_what_is_measured() {
        let check = |metrics: Value, current: Value, expect: &str| {
            let scaler = plus(completed(SCALER, scaler()), "/spec/metrics", metrics);
            let status = json!({"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": current});
            let cells = row(SCALER, &plus(scaler, "/status", status));
            assert_eq!(cells, json!(["web", "Deployment/web", expect, "1", 5, 2, "5m3s"]));
        };
        let share = |name: &str, percent: i32| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}}});
        check(json!([share("cpu", 50)]), json!([]), "cpu: <unknown>/50%");
        let used = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12, "averageValue": "3m"}}}]);
        check(json!([share("cpu", 50)]), used, "cpu: 12%/50%");
        check(
            json!([share("cpu", 50), share("memory", 60), share("disk", 1)]),
            json!([]),
            "cpu: <unknown>/50%, memory: <unknown>/60% + 1 more...",
        );
        let requests = json!({"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
        check(json!([requests]), json!([]), "<unknown>/10");
    }
}
