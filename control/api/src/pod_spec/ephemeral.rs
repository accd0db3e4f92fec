//! Ephemeral containers: what is put into a pod that runs, to look at it. They are only ever added, and only by their own part of
//! the API.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use serde_json::Value;

use super::container::{self, Among};
use super::defaults;
use crate::kind::{Admitted, Operation};
use crate::rules::Causes;
use crate::{Kind as _, Object, StatusError, admit, catalog};

const PATH: &str = "spec.ephemeralContainers";

/// What an ephemeral container may say; everything else is for containers that a pod is counted on for.
const ALLOWED: [&str; 17] = [
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "envFrom",
    "env",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

/// The containers, in the shape that all others have.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> + '_ {
    spec.ephemeral_containers.iter().flatten().filter_map(plain)
}

fn plain(one: &EphemeralContainer) -> Option<Container> {
    serde_json::from_value(serde_json::to_value(one).ok()?).ok()
}

/// The pod with the ephemeral containers of `wanted`, which says nothing else that counts here.
pub fn admit(wanted: &Value, old: &Object) -> Result<Admitted, StatusError> {
    let names = catalog::Pods.names();
    let bad = |error: serde_json::Error| StatusError::bad_request(error.to_string());
    let asked = wanted.pointer("/spec/ephemeralContainers").cloned().unwrap_or(Value::Null);
    let mut asked: Option<Vec<EphemeralContainer>> = serde_json::from_value(asked).map_err(bad)?;
    for one in asked.iter_mut().flatten() {
        complete(one);
    }
    let before = old.decode::<Pod>().map_err(StatusError::internal)?;
    let known = before.spec.clone().unwrap_or_default();
    let spec = PodSpec { ephemeral_containers: asked.filter(|asked| !asked.is_empty()), ..known.clone() };
    let mut causes = Causes::default();
    validate(&spec, &mut causes);
    validate_update(&spec, &known, &mut causes);
    if !causes.is_empty() {
        return Err(StatusError::invalid(names, old.key().name(), causes.into_inner()));
    }
    let mut value = old.to_value().map_err(StatusError::internal)?;
    let told = serde_json::to_value(&spec.ephemeral_containers).map_err(StatusError::internal)?;
    if !told.is_null() {
        value["spec"]["ephemeralContainers"] = told;
    }
    let value = admit::counted(value, Operation::Update { old })?;
    let object = Object::from_value(old.key().kind(), &value).map_err(StatusError::internal)?;
    Ok(Admitted { object, warnings: Vec::new() })
}

/// Fills in what is left out.
fn complete(one: &mut EphemeralContainer) {
    let policy = defaults::pull_policy(one.image.as_deref().unwrap_or_default());
    one.image_pull_policy.get_or_insert_with(|| policy.into());
    one.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    one.termination_message_policy.get_or_insert_with(|| "File".into());
}

fn validate(spec: &PodSpec, causes: &mut Causes) {
    let volumes: HashSet<String> = spec.volumes.iter().flatten().map(|volume| volume.name.clone()).collect();
    let others = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut taken: HashSet<&str> = others().map(|other| other.name.as_str()).collect();
    for (index, one) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = format!("{PATH}[{index}]");
        if let Some(plain) = plain(one) {
            let grace_seconds = spec.termination_grace_period_seconds.unwrap_or_default();
            container::validate(&path, &plain, &Among { is_init: false, volumes: &volumes, grace_seconds }, causes);
        }
        if !one.name.is_empty() && !taken.insert(&one.name) {
            causes.duplicate(format!("{path}.name"), &one.name);
        }
        if let Some(target) = one.target_container_name.as_deref().filter(|target| !target.is_empty())
            && !others().any(|other| other.name == target)
        {
            causes.not_found(format!("{path}.targetContainerName"), target);
        }
        let said = serde_json::to_value(one).unwrap_or_default();
        // Go's clients write empty structures where nothing is said.
        let is_said = |value: &Value| value.as_object().is_none_or(|members| !members.is_empty());
        for (field, value) in said.as_object().into_iter().flatten() {
            if !ALLOWED.contains(&field.as_str()) && is_said(value) {
                causes.forbidden(format!("{path}.{field}"), "cannot be set for an Ephemeral Container");
            }
        }
        for (at, mount) in one.volume_mounts.iter().flatten().enumerate() {
            for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if value.as_ref().is_some_and(|value| !value.is_empty()) {
                    let path = format!("{path}.volumeMounts[{at}].{field}");
                    causes.forbidden(path, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

fn validate_update(new: &PodSpec, old: &PodSpec, causes: &mut Causes) {
    for known in old.ephemeral_containers.iter().flatten() {
        let now = new.ephemeral_containers.iter().flatten().find(|one| one.name == known.name);
        let what = match now {
            None => "removed",
            Some(one) if one != known => "changed",
            Some(_) => continue,
        };
        causes.forbidden(PATH, &format!("existing ephemeral containers {:?} may not be {what}\n", known.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    fn pod(ephemeral: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "generation": 1},
            "spec": {"containers": [{"name": "main", "image": "a"}], "ephemeralContainers": ephemeral},
        })
    }

    fn check(old: Value, new: Value, expect: Result<&str, &str>) {
        let old = Object::from_value(kinds::POD, &pod(old)).expect("an object");
        let found = admit(&pod(new), &old).map(|admitted| {
            let value = admitted.object.to_value().expect("JSON");
            let policy = &value["spec"]["ephemeralContainers"][0]["imagePullPolicy"];
            format!("{} {policy}", value["metadata"]["generation"])
        });
        let found = found.map_err(|error| error.message);
        let expect = expect.map(str::to_owned).map_err(|why| format!("Pod \"web\" is invalid: {why}"));
        assert_eq!(found, expect);
    }

    #[test]
    fn one_is_added_and_completed() {
        check(
            json!([]),
            json!([{"name": "look", "image": "box:v1", "stdin": true, "resources": {}}]),
            Ok("2 \"IfNotPresent\""),
        );
        check(json!([]), json!([{"name": "look", "image": "box", "targetContainerName": "main"}]), Ok("2 \"Always\""));
    }

    #[test]
    fn what_is_not_for_them_is_refused() {
        let one = |more: Value| {
            let mut one = json!({"name": "look", "image": "box:v1"});
            one.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!([one])
        };
        let taken = "spec.ephemeralContainers[0].name: Duplicate value: \"main\"";
        check(json!([]), one(json!({"name": "main"})), Err(taken));
        let target = "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"";
        check(json!([]), one(json!({"targetContainerName": "x"})), Err(target));
        let ports = "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container";
        check(json!([]), one(json!({"ports": [{"containerPort": 80, "protocol": "TCP"}]})), Err(ports));
        let image = "spec.ephemeralContainers[0].image: Required value";
        check(json!([]), one(json!({"image": ""})), Err(image));
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let complete = |name: &str| {
            json!({
                "name": name, "image": "box:v1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            })
        };
        check(json!([complete("a")]), json!([complete("a"), complete("b")]), Ok("2 \"IfNotPresent\""));
        let removed = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be removed\n";
        check(json!([complete("a")]), json!([complete("b")]), Err(removed));
        let mut other = complete("a");
        other["image"] = "box:v2".into();
        let changed = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be changed\n";
        check(json!([complete("a")]), json!([other]), Err(changed));
    }
}
