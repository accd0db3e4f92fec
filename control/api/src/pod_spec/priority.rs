//! How much a new pod matters: its class says it, or the class of pods that name none.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::catalog::SYSTEM_PRIORITIES;
use crate::{Object, StatusError, catalog, kinds};

const PREEMPTS: &str = "PreemptLowerPriority";

/// A new pod with the priority of its class; or the refusal of a class that is not there, or of a priority that it does not have.
pub fn prioritize<'a>(pod: Object, classes: impl Iterator<Item = &'a Object>) -> Result<Object, StatusError> {
    let before = pod.decode::<Pod>().map_err(StatusError::internal)?;
    let spec = before.spec.clone().unwrap_or_default();
    let named = spec.priority_class_name.as_deref().filter(|name| !name.is_empty());
    let classes: Vec<_> = classes.filter_map(|class| class.decode::<PriorityClass>().ok()).collect();
    let name_of = |class: &PriorityClass| class.metadata.name.clone().unwrap_or_default();
    let (name, priority, policy) = match named {
        None => {
            // Of several the least, as Kubernetes has it.
            let default =
                classes.iter().filter(|class| class.global_default == Some(true)).min_by_key(|class| class.value);
            match default {
                Some(class) => (name_of(class), class.value, class.preemption_policy.clone()),
                // No class is said, and none is there: absence means the same.
                None if spec.priority.is_none_or(|said| said == 0) => return Ok(pod),
                None => (String::new(), 0, None),
            }
        }
        Some(name) => match classes.iter().find(|class| name_of(class) == name) {
            Some(class) => (name.to_owned(), class.value, class.preemption_policy.clone()),
            None => match SYSTEM_PRIORITIES.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => (name.to_owned(), *value, None),
                None => return Err(forbidden(&pod, &format!("no PriorityClass with name {name} was found"))),
            },
        },
    };
    // Zero and the usual policy are what every new pod has before this.
    if let Some(said) = spec.priority.filter(|said| ![0, priority].contains(said)) {
        let why = format!(
            "the integer value of priority ({said}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(forbidden(&pod, &why));
    }
    let policy = policy.unwrap_or_else(|| PREEMPTS.into());
    if let Some(said) = spec.preemption_policy.as_ref().filter(|said| **said != policy && *said != PREEMPTS) {
        let why = format!(
            "the string value of PreemptionPolicy ({said}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(&pod, &why));
    }
    let mut after = Pod::clone(&before);
    after.metadata.resource_version = None;
    let spec = after.spec.get_or_insert_default();
    spec.priority = Some(priority);
    spec.preemption_policy = Some(policy);
    if !name.is_empty() {
        spec.priority_class_name = Some(name);
    }
    Object::from_typed(kinds::POD, &after).map_err(StatusError::internal)
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

    fn class(name: &str, value: i32, more: Value) -> Object {
        let mut class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
        class.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Object::from_value(kinds::PRIORITY_CLASS, &class).expect("an object")
    }

    fn check(spec: Value, classes: &[Object], expect: Result<Value, &str>) {
        let mut value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
        value["spec"]["containers"] = json!([]);
        let pod = Object::from_value(kinds::POD, &value).expect("an object");
        let found = prioritize(pod, classes.iter()).map_err(|refusal| refusal.message).map(|pod| {
            let spec = pod.to_value().expect("a tree")["spec"].clone();
            json!([spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]])
        });
        assert_eq!(found, expect.map_err(|why| format!("pods \"p\" is forbidden: {why}")));
    }

    #[test]
    fn a_class_says_how_much_its_pods_matter() {
        let high = class("high", 1000, json!({"preemptionPolicy": "Never"}));
        check(json!({"priorityClassName": "high"}), std::slice::from_ref(&high), Ok(json!(["high", 1000, "Never"])));
        check(json!({}), std::slice::from_ref(&high), Ok(json!([null, null, null])));
        let usual = class("usual", 5, json!({"globalDefault": true}));
        check(json!({}), &[high.clone(), usual], Ok(json!(["usual", 5, "PreemptLowerPriority"])));
        let system = json!(["system-node-critical", 2_000_001_000, "PreemptLowerPriority"]);
        check(json!({"priorityClassName": "system-node-critical"}), &[], Ok(system));
        check(
            json!({"priorityClassName": "low"}),
            std::slice::from_ref(&high),
            Err("no PriorityClass with name low was found"),
        );
        check(
            json!({"priorityClassName": "high", "priority": 7}),
            &[high],
            Err(
                "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name",
            ),
        );
    }
}
