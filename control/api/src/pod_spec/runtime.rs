//! What a new pod gets from the runtime class that it names: what running it costs beside its containers, and where it may run.
//!
//! Every pod runs as wasm components, whatever the class says; but classes also lead pods to nodes, and count.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use k8s_openapi::api::node::v1::{RuntimeClass, Scheduling};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::quantity::Quantity;
use crate::{Object, StatusError, catalog, kinds};

/// The name of the class that a pod asks for, if it asks for one.
pub fn runtime_class_of(pod: &Object) -> Option<String> {
    let pod = pod.decode::<Pod>().ok()?;
    pod.spec.as_ref()?.runtime_class_name.clone().filter(|name| !name.is_empty())
}

/// A new pod as its class has it; or the refusal of a class that is not there, or of what does not go together with it. `class` is
/// what is known under the name that the pod asks for.
pub fn run_as(pod: Object, class: Option<&Object>) -> Result<Object, StatusError> {
    let refused = |why: String| forbidden(&pod, &why);
    let before = pod.decode::<Pod>().map_err(StatusError::internal)?;
    let spec = before.spec.clone().unwrap_or_default();
    let class = match (&spec.runtime_class_name, class) {
        (Some(name), None) if !name.is_empty() => {
            return Err(refused(format!("pod rejected: RuntimeClass {name:?} not found")));
        }
        (Some(_), Some(class)) => Some(class.decode::<RuntimeClass>().map_err(StatusError::internal)?),
        _ => None,
    };
    let costs = class.as_ref().and_then(|class| class.overhead.as_ref()).map(|overhead| &overhead.pod_fixed);
    let scheduling = class.as_ref().and_then(|class| class.scheduling.as_ref());
    match (costs, &spec.overhead) {
        (None, Some(_)) => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(refused(why.into()));
        }
        (Some(costs), Some(said)) if amounts(costs.as_ref()) != amounts(Some(said)) => {
            return Err(refused("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into()));
        }
        (None, None) if scheduling.is_none() => return Ok(pod),
        _ => {}
    }
    let mut after = Pod::clone(&before);
    after.metadata.resource_version = None;
    let spec = after.spec.get_or_insert_default();
    if let Some(costs) = costs {
        spec.overhead.clone_from(costs);
    }
    if let Some(scheduling) = scheduling {
        lead(spec, scheduling).map_err(refused)?;
    }
    Object::from_typed(kinds::POD, &after).map_err(StatusError::internal)
}

/// The same amounts may be written in several ways.
fn amounts(list: Option<&BTreeMap<String, Written>>) -> BTreeMap<&str, Quantity> {
    let list = list.into_iter().flatten();
    list.map(|(name, written)| (name.as_str(), Quantity::of(written))).collect()
}

/// Pods of a class go where the class says, as well as where they say themselves.
fn lead(spec: &mut PodSpec, scheduling: &Scheduling) -> Result<(), String> {
    for (name, wanted) in scheduling.node_selector.iter().flatten() {
        let said = spec.node_selector.get_or_insert_default().entry(name.clone()).or_insert_with(|| wanted.clone());
        if said != wanted {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{name}] = {wanted}; pod.spec.nodeSelector[{name}] = {said}"
            ));
        }
    }
    if let Some(more) = &scheduling.tolerations {
        let all = [spec.tolerations.take().unwrap_or_default(), more.clone()].concat();
        spec.tolerations = Some(merged(&all));
    }
    Ok(())
}

/// Tolerations without those that another one covers; of two that are the same the first stays.
fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut kept: Vec<Toleration> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let is_covered_later = all[index + 1..].iter().any(|other| other != one && covers(other, one));
        if !is_covered_later && !kept.iter().any(|other| covers(other, one)) {
            kept.push(one.clone());
        }
    }
    kept
}

/// Whether all that `narrow` tolerates is tolerated by `wide` too.
fn covers(wide: &Toleration, narrow: &Toleration) -> bool {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let exists = |one: &Toleration| one.operator.as_deref() == Some("Exists");
    let is_of_key = word(&wide.key) == word(&narrow.key) || (word(&wide.key).is_empty() && exists(wide));
    let is_of_effect = word(&wide.effect) == word(&narrow.effect) || word(&wide.effect).is_empty();
    let lasts = match wide.toleration_seconds.filter(|_| word(&wide.effect) == "NoExecute") {
        None => true,
        Some(wide) => narrow.toleration_seconds.is_some_and(|narrow| narrow <= wide),
    };
    let is_of_value = exists(wide) || (!exists(narrow) && word(&wide.value) == word(&narrow.value));
    is_of_key && is_of_effect && lasts && is_of_value
}

fn forbidden(pod: &Object, why: &str) -> StatusError {
    match catalog::by_kind(kinds::POD) {
        Some(kind) => StatusError::forbidden(kind.names(), pod.key().name(), why),
        None => StatusError::internal(why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The fields that a class has a say in, after it; `class` is all of a class but its name.
    fn check(spec: Value, class: Option<Value>, expect: Result<Value, &str>) {
        let class = class.map(|mut class| {
            class["apiVersion"] = "node.k8s.io/v1".into();
            class["kind"] = "RuntimeClass".into();
            class["metadata"] = json!({"name": "wasm"});
            class["handler"] = "wasm".into();
            Object::from_value(kinds::RUNTIME_CLASS, &class).expect("an object")
        });
        let mut value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
        value["spec"]["containers"] = json!([]);
        let pod = Object::from_value(kinds::POD, &value).expect("an object");
        let found = run_as(pod, class.as_ref()).map_err(|refusal| refusal.message).map(|pod| {
            let spec = pod.to_value().expect("a tree")["spec"].clone();
            json!([spec["overhead"], spec["nodeSelector"], spec["tolerations"]])
        });
        assert_eq!(found, expect.map_err(|why| format!("pods \"p\" is forbidden: {why}")));
    }

    #[test]
    fn a_class_has_to_be_there() {
        check(json!({}), None, Ok(json!([null, null, null])));
        check(json!({"runtimeClassName": "wasm"}), None, Err("pod rejected: RuntimeClass \"wasm\" not found"));
        check(json!({"runtimeClassName": "wasm"}), Some(json!({})), Ok(json!([null, null, null])));
    }

    #[test]
    fn a_class_says_what_running_costs() {
        let class = || Some(json!({"overhead": {"podFixed": {"memory": "1Mi"}}}));
        let said = |overhead: Value| json!({"runtimeClassName": "wasm", "overhead": overhead});
        check(json!({"runtimeClassName": "wasm"}), class(), Ok(json!([{"memory": "1Mi"}, null, null])));
        check(said(json!({"memory": "1024Ki"})), class(), Ok(json!([{"memory": "1Mi"}, null, null])));
        check(
            said(json!({"memory": "2Mi"})),
            class(),
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        );
        let alone = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        check(said(json!({"memory": "1Mi"})), Some(json!({})), Err(alone));
        check(json!({"overhead": {"memory": "1Mi"}}), None, Err(alone));
    }

    #[test]
    fn a_class_leads_its_pods() {
        let class = |scheduling: Value| Some(json!({"scheduling": scheduling}));
        let pod = |more: Value| {
            let mut spec = json!({"runtimeClassName": "wasm"});
            spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            spec
        };
        let edge = class(json!({"nodeSelector": {"place": "edge"}}));
        check(
            pod(json!({"nodeSelector": {"disk": "fast"}})),
            edge.clone(),
            Ok(json!([null, {"disk": "fast", "place": "edge"}, null])),
        );
        check(
            pod(json!({"nodeSelector": {"place": "edge"}})),
            edge.clone(),
            Ok(json!([null, {"place": "edge"}, null])),
        );
        check(
            pod(json!({"nodeSelector": {"place": "core"}})),
            edge,
            Err("conflict: runtimeClass.scheduling.nodeSelector[place] = edge; pod.spec.nodeSelector[place] = core"),
        );
        let tolerant = class(json!({"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "value": "c"}]}));
        check(
            pod(
                json!({"tolerations": [{"key": "a", "value": "x", "effect": "NoSchedule"}, {"key": "b", "value": "c"}]}),
            ),
            tolerant,
            Ok(json!([null, null, [{"key": "b", "value": "c"}, {"key": "a", "operator": "Exists"}]])),
        );
    }

    #[test]
    fn what_covers_another_makes_it_needless() {
        let one = |value: Value| serde_json::from_value::<Toleration>(value).expect("a toleration");
        let check = |wide: Value, narrow: Value, expect: bool| assert_eq!(covers(&one(wide), &one(narrow)), expect);
        check(json!({"operator": "Exists"}), json!({"key": "a", "value": "b", "effect": "NoSchedule"}), true);
        check(json!({"key": "a", "value": "b"}), json!({"key": "a", "value": "c"}), false);
        check(json!({"key": "a", "value": "b"}), json!({"key": "a", "operator": "Exists"}), false);
        check(json!({"key": "a", "effect": "NoSchedule"}), json!({"key": "a"}), false);
        let brief = |seconds: Value| json!({"key": "a", "effect": "NoExecute", "tolerationSeconds": seconds});
        check(brief(json!(300)), brief(json!(60)), true);
        check(brief(json!(60)), brief(json!(300)), false);
        check(brief(json!(60)), brief(json!(null)), false);
    }
}
