//! What may be resized of a pod that runs: the processors and the memory of its containers, and nothing else.
//!
//! The words are Kubernetes' own. Whether the node has as much is for the node to say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::pod_spec::{self, resize};
use crate::quantity::Quantity;
use crate::rules::Causes;

const NOT_MUTABLE: &str = "only cpu and memory resources are mutable";

/// Puts everything back that a resize is not about; containers that do not match are left to be refused.
pub(super) fn prepare(pod: &mut Pod, old: &Pod) {
    pod.metadata.labels.clone_from(&old.metadata.labels);
    pod.metadata.annotations.clone_from(&old.metadata.annotations);
    pod.metadata.finalizers.clone_from(&old.metadata.finalizers);
    pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
    let (Some(spec), Some(before)) = (&mut pod.spec, &old.spec) else { return };
    let wanted = std::mem::replace(spec, before.clone());
    spec.containers = sized(wanted.containers, &before.containers);
    spec.init_containers = wanted.init_containers.map(|wanted| sized(wanted, inits(before)));
}

/// The containers as they were, in the sizes that are wanted.
fn sized(wanted: Vec<Container>, before: &[Container]) -> Vec<Container> {
    let name = |container: &Container| container.name.clone();
    if !wanted.iter().map(name).eq(before.iter().map(name)) {
        return wanted;
    }
    let pairs = wanted.into_iter().zip(before);
    pairs
        .map(|(wanted, before)| Container {
            resources: wanted.resources,
            resize_policy: wanted.resize_policy,
            ..before.clone()
        })
        .collect()
}

/// Everything wrong with a resize.
pub(super) fn validate(pod: &Pod, old: &Pod, causes: &mut Causes) {
    let (Some(spec), Some(before)) = (&pod.spec, &old.spec) else { return };
    if [spec, before].into_iter().any(has_sizes_of_its_own) {
        return causes.forbidden("", "pods with pod-level resources cannot be resized");
    }
    if pod_spec::quality(spec) != pod_spec::quality(before) {
        let class = old.status.as_ref().and_then(|status| status.qos_class.as_deref());
        causes.invalid("spec", class, "Pod QOS Class may not change as a result of resizing");
    }
    if !is_on_a_node_that_resizes(old) {
        causes.forbidden("spec", "Pod running on node without support for resize");
    }
    let lists = [
        ("initContainers", inits(spec), inits(before)),
        ("containers", spec.containers.as_slice(), before.containers.as_slice()),
    ];
    for (field, new, old) in lists {
        if new.len() != old.len() {
            let why = format!("{field} may not be added or removed on resize");
            causes.forbidden(format!("spec.{field}"), &why);
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let path = format!("spec.{field}[{index}]");
            if new.name == old.name {
                validate_container(&path, field == "initContainers", new, old, causes);
            } else {
                causes.forbidden(format!("{path}.name"), &format!("{field} may not be renamed or reordered on resize"));
            }
        }
    }
}

fn inits(spec: &PodSpec) -> &[Container] {
    spec.init_containers.as_deref().unwrap_or_default()
}

fn validate_container(path: &str, is_init: bool, new: &Container, old: &Container, causes: &mut Causes) {
    if is_init && old.restart_policy.as_deref() != Some("Always") {
        if new != old {
            causes.forbidden("spec", "resources for non-sidecar init containers are immutable");
        }
        return;
    }
    let [after, before] = [new, old].map(|container| container.resources.clone().unwrap_or_default());
    let path = format!("{path}.resources");
    for (field, after, before) in
        [("requests", &after.requests, &before.requests), ("limits", &after.limits, &before.limits)]
    {
        let is_gone = |name: &String| after.as_ref().is_none_or(|after| !after.contains_key(name));
        if before.iter().flatten().any(|(name, _)| is_gone(name)) {
            causes.forbidden(format!("{path}.{field}"), &format!("resource {field} cannot be removed"));
        }
    }
    if !resize::restarts(new, "memory") {
        let limit = |sizes: &ResourceRequirements| sizes.limits.as_ref()?.get("memory").map(Quantity::of);
        let what = match (limit(&after), limit(&before)) {
            (Some(after), Some(before)) if after < before => Some("decreased"),
            // From no limit to one is a decrease, too.
            (Some(_), None) => Some("added"),
            _ => None,
        };
        if let Some(what) = what {
            let why = format!("memory limits cannot be {what} unless resizePolicy is RestartContainer");
            causes.forbidden(format!("{path}.limits[memory]"), &why);
        }
    }
    let rest = |container: &Container, sizes: ResourceRequirements| {
        let others = |amounts: Option<BTreeMap<String, Written>>| {
            let mut amounts = amounts.unwrap_or_default();
            amounts.retain(|name, _| !resize::RESIZABLE.contains(&name.as_str()));
            amounts
        };
        let sizes = (others(sizes.limits), others(sizes.requests), sizes.claims);
        (Container { resources: None, ..container.clone() }, sizes)
    };
    if rest(new, after) != rest(old, before) {
        let why =
            if is_init { "only cpu and memory resources for sidecar containers are mutable" } else { NOT_MUTABLE };
        causes.forbidden("spec", why);
    }
}

/// Whether the pod as a whole has limits or requests.
fn has_sizes_of_its_own(spec: &PodSpec) -> bool {
    let amounts = spec.resources.as_ref().map(|sizes| (sizes.requests.iter().flatten(), sizes.limits.iter().flatten()));
    amounts.is_some_and(|(requests, limits)| requests.chain(limits).next().is_some())
}

/// A node that resizes tells how much those that run have.
fn is_on_a_node_that_resizes(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let runs = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some())
    };
    statuses.iter().find(|status| runs(&status.state)).is_none_or(|status| status.resources.is_some())
}

#[cfg(test)]
mod tests {
    use crate::catalog::{by_kind, testing};
    use crate::{Object, Operation, kinds};
    use serde_json::{Value, json};

    fn sizes(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}})
    }

    /// A pod with a side-car and an init container, which are named for what they are.
    fn pod() -> Object {
        testing::created(
            kinds::POD,
            json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
                "initContainers": [
                    {"name": "init", "image": "a:v1", "resources": sizes("1", "32Mi")},
                    {"name": "sidecar", "image": "a:v1", "resources": sizes("1", "32Mi"), "restartPolicy": "Always"},
                ],
                "containers": [
                    {"name": "main", "image": "a:v1", "resources": sizes("1", "32Mi")},
                    {"name": "again", "image": "a:v1", "resources": sizes("1", "32Mi"),
                        "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]},
                ],
            }}),
        )
    }

    /// What comes of a resize with these changes: the generation, or what is wrong.
    fn resized(old: &Object, changes: &[(&str, Value)]) -> Result<Value, String> {
        let admission = testing::admission(Operation::Resize { old }, "shop");
        let admitted = by_kind(kinds::POD).expect("in the catalog").admit(testing::with(old, changes), &admission);
        let told = |message: String| message.trim_start_matches("Pod \"web\" is invalid: ").to_owned();
        admitted.map(|admitted| testing::tree(&admitted.object)).map_err(|refused| told(refused.message))
    }

    fn refused(path: &str, change: Value, expect: &str) {
        assert_eq!(resized(&pod(), &[(path, change)]), Err(expect.to_owned()), "{path}");
    }

    #[test]
    fn processors_and_memory_of_what_stays_may_change() {
        let changes = [
            ("/spec/containers/0/resources", sizes("2", "64Mi")),
            ("/spec/containers/1/resources", sizes("500m", "24Mi")),
            ("/spec/initContainers/1/resources", sizes("200m", "33Mi")),
        ];
        let after = resized(&pod(), &changes).expect("fine");
        assert_eq!(after["metadata"]["generation"], 2);
        assert_eq!(after["spec"]["containers"][0]["resources"], sizes("2", "64Mi"));
        assert_eq!(resized(&pod(), &[]).expect("fine")["metadata"]["generation"], 1);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let changes = [
            ("/spec/containers/0/image", json!("b:v2")),
            ("/metadata/labels", json!({"app": "other"})),
            ("/spec/containers/0/resources/limits/cpu", json!("2")),
        ];
        let after = resized(&pod(), &changes).expect("fine");
        assert_eq!(
            (&after["spec"]["containers"][0]["image"], &after["metadata"]["labels"]["app"]),
            (&json!("a:v1"), &json!("web"))
        );
    }

    #[test]
    fn what_may_not_be_resized_is_refused_in_kubernetes_words() {
        let main = "/spec/containers/0/resources";
        refused(
            main,
            sizes("1", "31Mi"),
            "spec.containers[0].resources.limits[memory]: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer",
        );
        // A request that is not said is the limit, if there is one.
        refused(
            "/spec/initContainers/1/resources",
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
            "[spec.initContainers[1].resources.requests: Forbidden: resource requests cannot be removed, spec.initContainers[1].resources.limits: Forbidden: resource limits cannot be removed]",
        );
        refused(
            main,
            json!({"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        );
        refused(
            "/spec/initContainers/0/resources",
            sizes("2", "32Mi"),
            "spec: Forbidden: resources for non-sidecar init containers are immutable",
        );
        refused(
            "/spec/containers/0/resources/limits/ephemeral-storage",
            json!("1Gi"),
            "spec: Forbidden: only cpu and memory resources are mutable",
        );
        refused(
            "/spec/containers/1/resizePolicy",
            json!([]),
            "spec: Forbidden: only cpu and memory resources are mutable",
        );
        refused(
            "/spec/containers/0/name",
            json!("other"),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        );
        refused(
            "/spec/containers",
            json!([]),
            "[spec.containers: Required value, spec.containers: Forbidden: containers may not be added or removed on resize]",
        );
        refused(
            "/spec/containers/0/resources/requests/cpu",
            json!("2"),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        );
    }

    #[test]
    fn a_pod_keeps_its_quality() {
        let one = |resources: Value| {
            let spec = json!({"containers": [{"name": "main", "image": "a:v1", "resources": resources}]});
            testing::created(kinds::POD, json!({"metadata": {"name": "web"}, "spec": spec}))
        };
        let same = json!({"requests": {"cpu": "1", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "32Mi"}});
        let guaranteed = one(same.clone());
        assert_eq!(
            resized(&guaranteed, &[("/spec/containers/0/resources/limits/cpu", json!("2"))]),
            Err("spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing".into())
        );
        let unsaid = resized(&one(json!({})), &[("/spec/containers/0/resources", json!({"requests": {"cpu": "1"}}))]);
        assert_eq!(
            unsaid,
            Err("spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing".into())
        );
        let unlimited = one(json!({"requests": {"cpu": "1"}}));
        let limited = json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "32Mi"}});
        assert_eq!(
            resized(&unlimited, &[("/spec/containers/0/resources", limited)]),
            Err("spec.containers[0].resources.limits[memory]: Forbidden: memory limits cannot be added unless resizePolicy is RestartContainer".into())
        );
    }

    #[test]
    fn a_pod_that_runs_is_on_a_node_that_tells_sizes() {
        let running = |status: Value| {
            let mut status = status;
            status["state"] = json!({"running": {}});
            status["name"] = "main".into();
            let told = testing::with(&pod(), &[("/status/containerStatuses", json!([status]))]);
            Object::from_value(kinds::POD, &told).expect("an object").at(crate::Revision(6))
        };
        let status = json!({"image": "a", "imageID": "", "ready": true, "restartCount": 0});
        let more = [("/spec/containers/0/resources/limits/cpu", json!("2"))];
        assert_eq!(
            resized(&running(status.clone()), &more),
            Err("spec: Forbidden: Pod running on node without support for resize".into())
        );
        let mut status = status;
        status["resources"] = json!({});
        assert!(resized(&running(status), &more).is_ok());
    }

    #[test]
    fn policies_are_judged_with_the_pod() {
        let check = |restart: &str, policies: Value, expect: &str| {
            let container = json!({"name": "main", "image": "a:v1", "resizePolicy": policies});
            let spec = json!({"restartPolicy": restart, "containers": [container]});
            let refused =
                testing::message(testing::create(kinds::POD, json!({"metadata": {"name": "web"}, "spec": spec})));
            assert_eq!(refused, format!("Pod \"web\" is invalid: spec.containers[0].{expect}"));
        };
        let one = |resource: &str, policy: &str| json!({"resourceName": resource, "restartPolicy": policy});
        check(
            "Always",
            json!([one("disk", "NotRequired")]),
            "resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
        );
        check(
            "Always",
            json!([one("cpu", "Maybe")]),
            "resizePolicy: Unsupported value: \"Maybe\": supported values: \"NotRequired\", \"RestartContainer\"",
        );
        check(
            "Always",
            json!([one("cpu", "NotRequired"), one("cpu", "NotRequired")]),
            "resizePolicy[1]: Duplicate value: \"cpu\"",
        );
        check(
            "Never",
            json!([one("cpu", "RestartContainer")]),
            "resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
        );
    }
}
