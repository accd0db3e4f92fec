//! Replicas of a pod.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, integer};
use crate::pod_spec::template;
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct ReplicaSets;

impl Resource for ReplicaSets {
    type Object = ReplicaSet;

    const NAMES: &'static Names = &Names {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short: &["rs"],
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

    fn default(set: &mut ReplicaSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        template::default(spec.template.get_or_insert_default());
    }

    fn validate(set: &ReplicaSet, causes: &mut Causes) {
        let Some(spec) = &set.spec else { return };
        causes.not_negative("spec.replicas", spec.replicas.unwrap_or(1));
        causes.not_negative("spec.minReadySeconds", spec.min_ready_seconds.unwrap_or(0));
        let none = PodTemplateSpec::default();
        template::validate_selected(&spec.selector, spec.template.as_ref().unwrap_or(&none), causes);
    }

    fn validate_update(set: &ReplicaSet, old: &ReplicaSet, causes: &mut Causes) {
        if let (Some(new), Some(old)) = (&set.spec, &old.spec) {
            template::immutable_selector(&new.selector, &old.selector, causes);
        }
    }

    fn warnings(set: &ReplicaSet) -> Vec<String> {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.map(template::warnings).unwrap_or_default()
    }

    fn cells(set: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let spec = set.spec.as_ref();
        let status = set.status.as_ref();
        let template = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
        let [containers, images] = cells::containers(template);
        vec![
            cells::name(&set.metadata),
            spec.and_then(|spec| spec.replicas).unwrap_or(0).into(),
            status.map_or(0, |status| status.replicas).into(),
            status.and_then(|status| status.ready_replicas).unwrap_or(0).into(),
            cells::age(&set.metadata, now),
            containers,
            images,
            spec.map_or(cells::NONE.into(), |spec| cells::selector(&spec.selector)),
        ]
    }

    fn fields(set: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![("status.replicas", set.status.as_ref().map_or(0, |status| status.replicas).to_string())]
    }
}
