//! Replicas of a pod, rolled out.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, integer, text};
use crate::pod_spec::template;
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct Deployments;

impl Resource for Deployments {
    type Object = Deployment;

    const NAMES: &'static Names = &Names {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short: &["deploy"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Ready", "How many pods are ready, of how many are wanted."),
        integer("Up-to-date", "How many pods are as the template says."),
        integer("Available", "How many pods have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ];

    fn default(deployment: &mut Deployment) {
        let spec = deployment.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        strategy.type_.get_or_insert_with(|| "RollingUpdate".into());
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            let quarter = || IntOrString::String("25%".into());
            rolling.max_surge.get_or_insert_with(quarter);
            rolling.max_unavailable.get_or_insert_with(quarter);
        }
        template::default(&mut spec.template);
    }

    fn validate(deployment: &Deployment, causes: &mut Causes) {
        let Some(spec) = &deployment.spec else { return };
        causes.not_negative("spec.replicas", spec.replicas.unwrap_or(1));
        template::validate_selected(&spec.selector, &spec.template, causes);
        if let Some(strategy) = &spec.strategy {
            validate_strategy(strategy, causes);
        }
        causes.not_negative("spec.minReadySeconds", spec.min_ready_seconds.unwrap_or(0));
        causes.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit.unwrap_or(0));
        validate_deadline(spec, causes);
    }

    fn validate_update(deployment: &Deployment, old: &Deployment, causes: &mut Causes) {
        if let (Some(new), Some(old)) = (&deployment.spec, &old.spec) {
            template::immutable_selector(&new.selector, &old.selector, causes);
        }
    }

    fn warnings(deployment: &Deployment) -> Vec<String> {
        deployment.spec.as_ref().map(|spec| template::warnings(&spec.template)).unwrap_or_default()
    }

    fn cells(deployment: &Deployment, now: Timestamp) -> Vec<Value> {
        let spec = deployment.spec.as_ref();
        let status = deployment.status.as_ref();
        let count = |field: fn(&DeploymentStatus) -> Option<i32>| status.and_then(field).unwrap_or(0);
        let [containers, images] = cells::containers(spec.and_then(|spec| spec.template.spec.as_ref()));
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(0);
        vec![
            cells::name(&deployment.metadata),
            format!("{}/{wanted}", count(|status| status.ready_replicas)).into(),
            count(|status| status.updated_replicas).into(),
            count(|status| status.available_replicas).into(),
            cells::age(&deployment.metadata, now),
            containers,
            images,
            spec.map_or(cells::NONE.into(), |spec| cells::selector(&spec.selector)),
        ]
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, causes: &mut Causes) {
    match strategy.type_.as_deref().unwrap_or_default() {
        "Recreate" => {
            if strategy.rolling_update.is_some() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                causes.forbidden("spec.strategy.rollingUpdate", detail);
            }
        }
        "RollingUpdate" => {
            let rolling = strategy.rolling_update.as_ref();
            let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
            let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
            let surge = rules::amount("spec.strategy.rollingUpdate.maxSurge", surge, causes);
            let path = "spec.strategy.rollingUpdate.maxUnavailable";
            let unavailable = rules::share(path, unavailable, causes);
            if surge == Some(0) && unavailable == Some(0) {
                causes.invalid(path, 0, "may not be 0 when `maxSurge` is 0");
            }
        }
        other => causes.unsupported("spec.strategy.type", other, &["Recreate", "RollingUpdate"]),
    }
}

fn validate_deadline(spec: &DeploymentSpec, causes: &mut Causes) {
    let Some(deadline) = spec.progress_deadline_seconds else { return };
    causes.not_negative("spec.progressDeadlineSeconds", deadline);
    if deadline <= spec.min_ready_seconds.unwrap_or(0) {
        causes.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
    }
}
