//! The containers of a pod, as whoever asks for the streams of one needs to know them: which one is meant, and where it runs.

use api::{Object, StatusError};
use serde::Deserialize;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A pod's containers, and its node.
#[derive(Debug)]
pub(crate) struct Containers {
    pod: String,
    by_default: Option<String>,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

// === impl Containers ===

impl Containers {
    /// Reads them out of a pod.
    pub(crate) fn of(pod: &Object) -> Result<Self, StatusError> {
        let Pod { spec } = serde_json::from_slice(pod.body()).map_err(StatusError::internal)?;
        let by_default = pod.meta().annotations.get(DEFAULT_CONTAINER).cloned();
        Ok(Self { pod: pod.key().name().into(), by_default, spec })
    }

    /// The node that runs them; none before the pod is bound.
    pub(crate) fn node(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|node| !node.is_empty())
    }

    /// The container of this name, or else the one that is meant when none is named.
    pub(crate) fn pick(&self, asked: Option<&str>) -> Result<&str, StatusError> {
        let Self { pod, by_default, spec } = self;
        let all = || spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
        let known = |name: &str| all().find(|one| one.name == name).map(|one| one.name.as_str());
        if let Some(asked) = asked.filter(|name| !name.is_empty()) {
            let unknown = || StatusError::bad_request(format!("container {asked} is not valid for pod {pod}"));
            return known(asked).ok_or_else(unknown);
        }
        if let [only] = spec.containers.as_slice() {
            return Ok(&only.name);
        }
        by_default.as_deref().and_then(known).ok_or_else(|| {
            let inits = match names(&spec.init_containers) {
                none if none.is_empty() => String::new(),
                inits => format!(" or one of the init containers: [{inits}]"),
            };
            let choice = names(&spec.containers);
            let why = format!("a container name must be specified for pod {pod}, choose one of: [{choice}]{inits}");
            StatusError::bad_request(why)
        })
    }
}

fn names(containers: &[Container]) -> String {
    containers.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;
    use serde_json::json;

    fn check(spec: serde_json::Value, asked: Option<&str>, expect: Result<&str, &str>) {
        let annotations = json!({DEFAULT_CONTAINER: "b"});
        let metadata = json!({"name": "web", "namespace": "shop", "annotations": annotations});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let pod = Object::from_value(kinds::POD, &pod).expect("an object");
        let containers = Containers::of(&pod).expect("a pod");
        let found = containers.pick(asked).map_err(|error| error.message);
        assert_eq!(found, expect.map_err(str::to_owned));
    }

    #[test]
    fn a_container_is_the_one_that_is_named_or_the_only_one_or_the_default() {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        check(json!({"containers": named(&["a"])}), None, Ok("a"));
        check(json!({"containers": named(&["a"])}), Some(""), Ok("a"));
        check(json!({"containers": named(&["a", "b"])}), None, Ok("b"));
        let all = json!({
            "containers": named(&["a", "c"]), "initContainers": named(&["i"]), "ephemeralContainers": named(&["e"]),
        });
        check(all.clone(), Some("i"), Ok("i"));
        check(all.clone(), Some("e"), Ok("e"));
        check(all.clone(), Some("z"), Err("container z is not valid for pod web"));
        let choose =
            "a container name must be specified for pod web, choose one of: [a c] or one of the init containers: [i]";
        check(all, None, Err(choose));
    }
}
