//! Replicas of a pod that have names and storage of their own.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use serde_json::Value;

use super::persistent_volume_claim as claim;
use super::{AGE, CONTAINERS, IMAGES, NAME, text};
use crate::pod_spec::template;
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct StatefulSets;

const RETENTION: &[&str] = &["Delete", "Retain"];
const FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Resource for StatefulSets {
    type Object = StatefulSet;

    const NAMES: &'static Names = &Names {
        group: "apps",
        version: "v1",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short: &["sts"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Scale];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] =
        &[NAME, text("Ready", "How many pods are ready, of how many are wanted."), AGE, CONTAINERS, IMAGES];

    fn default(set: &mut StatefulSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.pod_management_policy.get_or_insert_with(|| "OrderedReady".into());
        let strategy = spec.update_strategy.get_or_insert_default();
        if strategy.type_.as_deref().is_none_or(str::is_empty) {
            strategy.type_ = Some("RollingUpdate".into());
            strategy.rolling_update.get_or_insert_default();
        }
        if let (Some("RollingUpdate"), Some(rolling)) = (strategy.type_.as_deref(), &mut strategy.rolling_update) {
            rolling.partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        for policy in [&mut retention.when_deleted, &mut retention.when_scaled] {
            policy.get_or_insert_with(|| "Retain".into());
        }
        template::default(&mut spec.template);
        spec.volume_claim_templates.iter_mut().flatten().for_each(claim::default);
    }

    fn validate(set: &StatefulSet, causes: &mut Causes) {
        let Some(spec) = &set.spec else { return };
        match spec.pod_management_policy.as_deref().unwrap_or_default() {
            "" => causes.required("spec.podManagementPolicy", ""),
            "OrderedReady" | "Parallel" => {}
            other => {
                causes.invalid("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'");
            }
        }
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, causes);
        }
        if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
            let path = "spec.persistentVolumeClaimRetentionPolicy";
            for (field, policy) in [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)] {
                if let Some(policy) = policy.as_deref().filter(|policy| !RETENTION.contains(policy)) {
                    causes.unsupported(format!("{path}.{field}"), policy, RETENTION);
                }
            }
        }
        let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        causes.not_negative("spec.replicas", spec.replicas.unwrap_or(1));
        causes.not_negative("spec.minReadySeconds", spec.min_ready_seconds.unwrap_or(0));
        causes.not_negative("spec.ordinals.start", first.unwrap_or(0));
        causes.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit.unwrap_or(0));
        rules::selector("spec.selector", &spec.selector, causes);
        if template::is_empty(&spec.selector) {
            let selector = template::go_selector(&spec.selector);
            causes.invalid_go("spec.selector", &selector, "empty selector is invalid for statefulset");
        }
        template::validate_labels_match(&spec.selector, &spec.template, causes);
        template::validate("spec.template", &with_claims(spec), causes);
        template::validate_restarting(&spec.template, "StatefulSet", causes);
    }

    fn validate_update(set: &StatefulSet, old: &StatefulSet, causes: &mut Causes) {
        if fixed(set) != fixed(old) {
            causes.forbidden("spec", FIXED);
        }
    }

    fn warnings(set: &StatefulSet) -> Vec<String> {
        set.spec.as_ref().map(|spec| template::warnings(&spec.template)).unwrap_or_default()
    }

    fn cells(set: &StatefulSet, now: Timestamp) -> Vec<Value> {
        let spec = set.spec.as_ref();
        let [containers, images] = cells::containers(spec.and_then(|spec| spec.template.spec.as_ref()));
        let ready = set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(0);
        vec![
            cells::name(&set.metadata),
            format!("{ready}/{wanted}").into(),
            cells::age(&set.metadata, now),
            containers,
            images,
        ]
    }
}

fn validate_strategy(strategy: &StatefulSetUpdateStrategy, causes: &mut Causes) {
    let path = "spec.updateStrategy";
    let rolling = strategy.rolling_update.as_ref();
    match strategy.type_.as_deref().unwrap_or_default() {
        "RollingUpdate" => {
            let partition = rolling.and_then(|rolling| rolling.partition);
            causes.not_negative(format!("{path}.rollingUpdate.partition"), partition.unwrap_or(0));
            let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
            if rules::share(&format!("{path}.rollingUpdate.maxUnavailable"), most, causes) == Some(0) {
                causes.invalid(format!("{path}.rollingUpdate.maxUnavailable"), 0, "cannot be 0");
            }
        }
        "OnDelete" => {
            if rolling.is_some() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                causes.invalid(format!("{path}.rollingUpdate"), rolling, detail);
            }
        }
        other => {
            let go = format!(
                "apps.StatefulSetUpdateStrategy{{Type:{other:?}, RollingUpdate:(*apps.RollingUpdateStatefulSetStrategy)(nil)}}"
            );
            causes.invalid_go(path, &go, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

/// The template as its pods will be: each claim is a volume of the same name.
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
    for name in spec.volume_claim_templates.iter().flatten().filter_map(|claim| claim.metadata.name.as_ref()) {
        let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None };
        volumes.retain(|volume| volume.name != *name);
        volumes.push(Volume { name: name.clone(), persistent_volume_claim: Some(source), ..Volume::default() });
    }
    template
}

/// What never changes of a spec.
fn fixed(set: &StatefulSet) -> Option<StatefulSetSpec> {
    let spec = set.spec.as_ref()?;
    Some(StatefulSetSpec {
        selector: spec.selector.clone(),
        service_name: spec.service_name.clone().filter(|name| !name.is_empty()),
        pod_management_policy: spec.pod_management_policy.clone(),
        volume_claim_templates: spec.volume_claim_templates.clone().filter(|claims| !claims.is_empty()),
        ..StatefulSetSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::STATEFUL_SET;

    fn set() -> Value {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let mounts = json!([{"name": "data", "mountPath": "/data"}]);
        let template = plus(template(), "/spec/containers/0/volumeMounts", mounts);
        json!({"metadata": {"name": "db"}, "spec": {"serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": template, "volumeClaimTemplates": [claim]}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let spec = completed(STATEFUL_SET, set())["spec"].clone();
        let expect = json!({"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}});
        for (field, value) in expect.as_object().expect("an object") {
            assert_eq!(&spec[field], value, "{field}");
        }
        let claim = &spec["volumeClaimTemplates"][0];
        assert_eq!(
            (&claim["spec"]["volumeMode"], &claim["status"]["phase"]),
            (&json!("Filesystem"), &json!("Pending"))
        );
        let on_delete = plus(set(), "/spec/updateStrategy", json!({"type": "OnDelete"}));
        assert_eq!(completed(STATEFUL_SET, on_delete)["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(refusal(STATEFUL_SET, set(), path, wrong), expect);
        };
        check("/spec/replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        check(
            "/spec/podManagementPolicy",
            json!("Any"),
            "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
        );
        check(
            "/spec/updateStrategy",
            json!({"type": "Recreate"}),
            "spec.updateStrategy: Invalid value: apps.StatefulSetUpdateStrategy{Type:\"Recreate\", RollingUpdate:(*apps.RollingUpdateStatefulSetStrategy)(nil)}: must be 'RollingUpdate' or 'OnDelete'",
        );
        check(
            "/spec/updateStrategy",
            json!({"rollingUpdate": {"partition": -1}}),
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            "/spec/persistentVolumeClaimRetentionPolicy",
            json!({"whenScaled": "Keep"}),
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\"",
        );
        check(
            "/spec/template/metadata/labels",
            json!({"app": "db"}),
            "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"db\"}: `selector` does not match template `labels`",
        );
        check(
            "/spec/volumeClaimTemplates",
            json!([]),
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
        );
        check(
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        );
    }

    #[test]
    fn little_of_it_changes() {
        let old = created(STATEFUL_SET, set());
        let check = |path: &str, changed: Value| {
            assert_eq!(refused_change(&old, path, changed), format!("spec: Forbidden: {FIXED}"));
        };
        check("/spec/serviceName", json!("other"));
        check("/spec/podManagementPolicy", json!("Parallel"));
        check("/spec/volumeClaimTemplates/0/spec/storageClassName", json!("fast"));
        assert!(update(&old, with(&old, &[("/spec/replicas", json!(3)), ("/spec/minReadySeconds", json!(5))])).is_ok());
    }

    #[test]
    fn a_row_tells_how_many_are_ready() {
        let running = plus(completed(STATEFUL_SET, set()), "/status", json!({"replicas": 1, "readyReplicas": 1}));
        assert_eq!(row(STATEFUL_SET, &running), json!(["db", "1/1", "5m3s", "main", "web:v1"]));
    }
}
