//! What a node should run: a pure function of the pods that are bound to it.

use std::sync::Arc;

use api::pod_spec::ephemeral;
use api::{DecodeError, Object};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use state::Snapshot;

/// A pod's uid: two pods that follow each other under one name are two pods.
pub type Uid = Arc<str>;

/// A pod bound to the node, as the cluster last told it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As it is stored.
    pub object: Object,
    /// What it says.
    pub pod: Arc<Pod>,
}

/// What an object says that is a pod of this node. One that cannot be read is left alone.
pub fn desired(object: &Object) -> Result<Wanted, DecodeError> {
    let pod = with_all_containers(object.decode::<Pod>()?);
    Ok(Wanted { object: object.clone(), pod })
}

/// All pods of a node that can be read.
pub(crate) fn all<'a>(view: &'a Snapshot, node: &str) -> impl Iterator<Item = (Uid, Wanted)> + use<'a> {
    view.pods_on(node).filter_map(|object| Some((object.meta().uid.clone(), desired(object).ok()?)))
}

/// Ephemeral containers are run as the others are, behind them; the pod's own list of them still says which they are.
fn with_all_containers(pod: Arc<Pod>) -> Arc<Pod> {
    let Some(spec) = &pod.spec else { return pod };
    let ephemeral: Vec<Container> = ephemeral::containers(spec).collect();
    if ephemeral.is_empty() {
        return pod;
    }
    let mut pod = Pod::clone(&pod);
    pod.spec.get_or_insert_default().containers.extend(ephemeral);
    Arc::new(pod)
}

/// Whether a container of a pod is one of its ephemeral ones.
pub(crate) fn is_ephemeral(spec: &PodSpec, name: &str) -> bool {
    spec.ephemeral_containers.iter().flatten().any(|one| one.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::object;

    #[test]
    fn ephemeral_containers_run_behind_the_others() {
        let pod = object(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"shop","uid":"u-a"},
                "spec":{"nodeName":"n1","containers":[{"name":"c","image":"hello:v1"}],
                    "ephemeralContainers":[{"name":"look","image":"box:v1"}]}}"#,
        );
        let wanted = desired(&pod).expect("a pod");
        let containers = wanted.pod.spec.iter().flat_map(|spec| &spec.containers);
        assert_eq!(containers.map(|one| one.name.as_str()).collect::<Vec<_>>(), ["c", "look"]);
        assert_eq!(wanted.object, pod);
    }
}
