//! Which pods a node should run: a pure function of a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pod_spec::ephemeral;
use api::{DecodeError, Key, Revision};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use state::Snapshot;

/// A pod's uid: two pods that follow each other under one name are two pods.
pub type Uid = Arc<str>;

/// A pod bound to the node, as the cluster last told it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub key: Key,
    /// When it was written.
    pub revision: Revision,
    /// What it says.
    pub pod: Arc<Pod>,
}

/// Everything bound to a node.
#[derive(Debug, Default)]
pub struct Desired {
    /// The pods, by uid.
    pub pods: BTreeMap<Uid, Wanted>,
    /// Pods that cannot be read; they are left alone.
    pub unreadable: Vec<DecodeError>,
}

/// The pods that the snapshot binds to `node`.
pub fn desired(view: &Snapshot, node: &str) -> Desired {
    let mut desired = Desired::default();
    for object in view.pods_on(node) {
        match object.decode::<Pod>() {
            Ok(pod) => {
                let pod = with_all_containers(pod);
                let wanted = Wanted { key: object.key().clone(), revision: object.revision(), pod };
                desired.pods.insert(object.meta().uid.clone(), wanted);
            }
            Err(error) => desired.unreadable.push(error),
        }
    }
    desired
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
    use crate::fixture::{object, world};

    #[test]
    fn a_node_wants_its_own_pods_only() {
        let pod = |name: &str, node: &str| {
            object(&format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}"}},
                    "spec":{{"nodeName":"{node}","containers":[{{"name":"c","image":"hello:v1"}}]}}}}"#
            ))
        };
        let view = world([pod("a", "n1"), pod("b", "n2"), pod("c", "n1")]);
        let desired = desired(&view, "n1");
        let names: Vec<&str> = desired.pods.values().map(|wanted| wanted.key.name()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(desired.pods["u-a"].pod.spec.as_ref().map(|spec| spec.containers.len()), Some(1));
    }
}
