//! One pod on every node.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, integer, text};
use crate::pod_spec::template;
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct DaemonSets;

impl Resource for DaemonSets {
    type Object = DaemonSet;

    const NAMES: &'static Names = &Names {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short: &["ds"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        integer("Desired", "How many nodes are to run its pod."),
        integer("Current", "How many nodes that are to run its pod do so."),
        integer("Ready", "How many of these pods are ready."),
        integer("Up-to-date", "How many pods are as the template says."),
        integer("Available", "How many pods have been ready for long enough."),
        text("Node Selector", "The labels of nodes that are to run its pod."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ];

    fn default(set: &mut DaemonSet) {
        let spec = set.spec.get_or_insert_default();
        spec.revision_history_limit.get_or_insert(10);
        let strategy = spec.update_strategy.get_or_insert_default();
        strategy.type_.get_or_insert_with(|| "RollingUpdate".into());
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        template::default(&mut spec.template);
    }

    fn validate(set: &DaemonSet, causes: &mut Causes) {
        let Some(spec) = &set.spec else { return };
        rules::selector("spec.selector", &spec.selector, causes);
        template::validate_labels_match(&spec.selector, &spec.template, causes);
        if template::is_empty(&spec.selector) {
            let selector = template::go_selector(&spec.selector);
            causes.invalid_go("spec.selector", &selector, "empty selector is invalid for daemonset");
        }
        template::validate("spec.template", &spec.template, causes);
        template::validate_restarting(&spec.template, "DaemonSet", causes);
        causes.not_negative("spec.minReadySeconds", spec.min_ready_seconds.unwrap_or(0));
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, causes);
        }
        causes.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit.unwrap_or(0));
    }

    fn validate_update(set: &DaemonSet, old: &DaemonSet, causes: &mut Causes) {
        if let (Some(new), Some(old)) = (&set.spec, &old.spec) {
            template::immutable_selector(&new.selector, &old.selector, causes);
        }
    }

    fn warnings(set: &DaemonSet) -> Vec<String> {
        set.spec.as_ref().map(|spec| template::warnings(&spec.template)).unwrap_or_default()
    }

    fn cells(set: &DaemonSet, now: Timestamp) -> Vec<Value> {
        let spec = set.spec.as_ref();
        let pods = spec.and_then(|spec| spec.template.spec.as_ref());
        let [containers, images] = cells::containers(pods);
        let count = |field: fn(&DaemonSetStatus) -> i32| Value::from(set.status.as_ref().map_or(0, field));
        vec![
            cells::name(&set.metadata),
            count(|status| status.desired_number_scheduled),
            count(|status| status.current_number_scheduled),
            count(|status| status.number_ready),
            count(|status| status.updated_number_scheduled.unwrap_or(0)),
            count(|status| status.number_available.unwrap_or(0)),
            cells::pairs(pods.and_then(|pods| pods.node_selector.as_ref())),
            cells::age(&set.metadata, now),
            containers,
            images,
            spec.map_or(cells::NONE.into(), |spec| cells::selector(&spec.selector)),
        ]
    }
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, causes: &mut Causes) {
    let path = "spec.updateStrategy";
    match strategy.type_.as_deref().unwrap_or_default() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else {
                causes.required(format!("{path}.rollingUpdate"), "");
                return;
            };
            let [unavailable, surge] =
                [("maxUnavailable", rolling.max_unavailable.as_ref()), ("maxSurge", rolling.max_surge.as_ref())]
                    .map(|(field, share)| rules::share(&format!("{path}.rollingUpdate.{field}"), share, causes));
            match (unavailable.unwrap_or(0), surge.unwrap_or(0)) {
                (0, 0) => {
                    causes.required(format!("{path}.rollingUpdate.maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (0, _) | (_, 0) => {}
                _ => causes.invalid(
                    format!("{path}.rollingUpdate.maxSurge"),
                    &rolling.max_surge,
                    "may not be set when maxUnavailable is non-zero",
                ),
            }
        }
        other => causes.unsupported(path, other, &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::DAEMON_SET;

    fn set() -> Value {
        json!({"metadata": {"name": "probe"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template()}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let spec = completed(DAEMON_SET, set())["spec"].clone();
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        assert_eq!((&spec["updateStrategy"], &spec["revisionHistoryLimit"]), (&rolling, &json!(10)));
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check =
            |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(DAEMON_SET, set(), path, wrong), expect);
        let rolling = |rolling: Value| json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        check(
            "/spec/updateStrategy",
            rolling(json!({"maxUnavailable": 0})),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        );
        check(
            "/spec/updateStrategy",
            rolling(json!({"maxUnavailable": 1, "maxSurge": "10%"})),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"10%\": may not be set when maxUnavailable is non-zero",
        );
        check(
            "/spec/updateStrategy",
            rolling(json!({"maxUnavailable": "101%"})),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
        );
        check(
            "/spec/updateStrategy",
            json!({"type": "Recreate"}),
            "spec.updateStrategy: Unsupported value: \"Recreate\": supported values: \"RollingUpdate\", \"OnDelete\"",
        );
        check(
            "/spec/template/spec/activeDeadlineSeconds",
            json!(5),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        );
        check(
            "/spec/selector",
            json!({}),
            "[spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`, spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for daemonset]",
        );
    }

    #[test]
    fn its_selector_does_not_change() {
        let old = created(DAEMON_SET, set());
        let labels = json!({"app": "web", "tier": "a"});
        let both =
            with(&old, &[("/spec/selector/matchLabels", labels.clone()), ("/spec/template/metadata/labels", labels)]);
        assert!(message(update(&old, both)).ends_with("field is immutable"));
    }

    #[test]
    fn a_row_counts_nodes() {
        let status = json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1, "updatedNumberScheduled": 2, "numberAvailable": 1, "numberMisscheduled": 0});
        let placed = plus(completed(DAEMON_SET, set()), "/spec/template/spec/nodeSelector", json!({"disk": "ssd"}));
        assert_eq!(
            row(DAEMON_SET, &plus(placed, "/status", status)),
            json!(["probe", 3, 2, 1, 2, 1, "disk=ssd", "5m3s", "main", "web:v1", "app=web"])
        );
    }
}
