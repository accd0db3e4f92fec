//! Replicas of a pod, as they were before ReplicaSets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerSpec};
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, integer};
use crate::pod_spec::template;
use crate::rules::Causes;
use crate::selector::LabelSelector as Selector;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct ReplicationControllers;

impl Resource for ReplicationControllers {
    type Object = ReplicationController;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short: &["rc"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        integer("Desired", "How many pods are wanted."),
        integer("Current", "How many pods there are."),
        integer("Ready", "How many pods are ready."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ];
    const SELECTABLE: &'static [&'static str] = &["status.replicas"];

    fn default(controller: &mut ReplicationController) {
        let spec = controller.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let template = spec.template.get_or_insert_default();
        template::default(template);
        let labels = template::labels_of(template);
        for own in [&mut spec.selector, &mut controller.metadata.labels] {
            if own.as_ref().is_none_or(BTreeMap::is_empty) {
                *own = labels.cloned();
            }
        }
    }

    fn validate(controller: &ReplicationController, causes: &mut Causes) {
        let none = ReplicationControllerSpec::default();
        let spec = controller.spec.as_ref().unwrap_or(&none);
        causes.not_negative("spec.minReadySeconds", spec.min_ready_seconds.unwrap_or(0));
        let no_labels = BTreeMap::new();
        let asked = spec.selector.as_ref().unwrap_or(&no_labels);
        if asked.is_empty() {
            causes.required("spec.selector", "");
        }
        causes.not_negative("spec.replicas", spec.replicas.unwrap_or(1));
        let no_template = PodTemplateSpec::default();
        let template = spec.template.as_ref().unwrap_or(&no_template);
        let labels = template::labels_of(template).unwrap_or(&no_labels);
        if !asked.is_empty() && !Selector::equal_to(asked).matches(labels) {
            let detail = "`selector` does not match template `labels`";
            causes.invalid_go("spec.template.metadata.labels", &template::go_map(labels), detail);
        }
        template::validate("spec.template", template, causes);
        template::validate_restarting(template, "ReplicationController", causes);
    }

    fn warnings(controller: &ReplicationController) -> Vec<String> {
        let template = controller.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.map(template::warnings).unwrap_or_default()
    }

    fn cells(controller: &ReplicationController, now: Timestamp) -> Vec<Value> {
        let spec = controller.spec.as_ref();
        let status = controller.status.as_ref();
        let template = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
        let [containers, images] = cells::containers(template);
        vec![
            cells::name(&controller.metadata),
            spec.and_then(|spec| spec.replicas).unwrap_or(0).into(),
            status.map_or(0, |status| status.replicas).into(),
            status.and_then(|status| status.ready_replicas).unwrap_or(0).into(),
            cells::age(&controller.metadata, now),
            containers,
            images,
            cells::pairs(spec.and_then(|spec| spec.selector.as_ref())),
        ]
    }

    fn fields(controller: &ReplicationController) -> Vec<(&'static str, String)> {
        vec![("status.replicas", controller.status.as_ref().map_or(0, |status| status.replicas).to_string())]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::{by_kind, testing::*};
    use crate::kinds::REPLICATION_CONTROLLER as CONTROLLER;

    fn controller() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"template": template()}})
    }

    #[test]
    fn labels_of_its_pods_are_its_own() {
        let object = created(CONTROLLER, controller());
        let labels = json!({"app": "web"});
        let value = tree(&object);
        assert_eq!((&value["spec"]["selector"], &value["metadata"]["labels"]), (&labels, &labels));
        assert_eq!(row(CONTROLLER, &value), json!(["web", 1, 0, 0, "5m3s", "main", "web:v1", "app=web"]));
        let scale = by_kind(CONTROLLER).expect("in the catalog").scale(&object).expect("it scales");
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=web")));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(refusal(CONTROLLER, controller(), path, wrong), expect);
        };
        check("/spec/replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        check(
            "/spec/selector",
            json!({"app": "db"}),
            "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
        );
        check("/spec/template/metadata", json!({}), "spec.selector: Required value");
        check(
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        );
    }
}
