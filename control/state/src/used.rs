//! What a node needs to read: the secrets, config maps, accounts and volumes that its pods name, and the certificates of its edge.
//!
//! Nodes watch these and no others, and the API lets them: both ask here.

use std::collections::BTreeSet;

use api::storage::NODE_LABEL;
use api::{Key, Object, kinds, references};

use crate::Snapshot;

// === impl Snapshot ===

impl Snapshot {
    /// Everything that the pods of a node use, what the volumes that it sees to need, and every secret that an edge shows: each
    /// node is one.
    pub fn used_on(&self, node: &str) -> BTreeSet<Key> {
        let mut used: BTreeSet<Key> = self.namers(node).flat_map(references::of).collect();
        // What those name that are named: the secrets of an account, the volume of a claim, the secret of that volume.
        for _ in 0..FURTHER {
            let further: Vec<Key> = used.iter().filter_map(|key| self.get(key)).flat_map(references::of).collect();
            used.extend(further);
        }
        used
    }

    /// Whether it is among them. What many pods use is found with the first of them.
    pub fn is_used_on(&self, node: &str, key: &Key) -> bool {
        let names = |object: &Object| references::of(object).contains(key);
        if self.namers(node).any(names) {
            return true;
        }
        let mut seen = BTreeSet::new();
        let mut near: Vec<Key> = self.namers(node).flat_map(references::of).collect();
        for _ in 0..FURTHER {
            near.retain(|named| seen.insert(named.clone()));
            if near.iter().filter_map(|named| self.get(named)).any(names) {
                return true;
            }
            near = near.iter().filter_map(|named| self.get(named)).flat_map(references::of).collect();
        }
        false
    }

    /// Those that name what a node needs: its pods, the volumes that lie on it or that it is to clear away, the edges.
    fn namers(&self, node: &str) -> impl Iterator<Item = &Object> {
        let is_here = move |volume: &&Object| volume.meta().labels.get(NODE_LABEL).is_some_and(|home| home == node);
        let volumes = self.list(kinds::PERSISTENT_VOLUME).filter(is_here);
        self.pods_on(node).chain(volumes).chain(self.list(kinds::INGRESS))
    }
}

/// So many steps further lies what is named by what is named: from a claim to its volume, and to that one's secret.
const FURTHER: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use api::{GroupKind, Revision};
    use serde_json::{Value, json};

    fn object(kind: GroupKind, name: &str, mut value: Value) -> Object {
        let names = api::catalog::by_kind(kind).expect("in the catalog").names();
        value["apiVersion"] = names.api_version().into();
        value["kind"] = names.kind.into();
        value["metadata"] = json!({"name": name, "namespace": "shop"});
        Object::from_value(kind, &value).expect("an object")
    }

    #[test]
    fn a_node_uses_what_its_own_pods_name() {
        let pod = |name: &str, node: &str, account: &str| {
            object(
                kinds::POD,
                name,
                json!({"spec": {"nodeName": node, "serviceAccountName": account, "containers": []}}),
            )
        };
        let account = |name: &str| {
            object(kinds::SERVICE_ACCOUNT, name, json!({"imagePullSecrets": [{"name": format!("{name}-pull")}]}))
        };
        let edge = object(kinds::INGRESS, "web", json!({"spec": {"tls": [{"secretName": "cert"}]}}));
        let view = Snapshot::load(
            Revision(1),
            [pod("a", "n1", "one"), pod("b", "n2", "two"), account("one"), account("two"), edge],
        );
        let used: Vec<String> = view.used_on("n1").iter().map(ToString::to_string).collect();
        assert_eq!(used, ["Secret/shop/cert", "Secret/shop/one-pull", "ServiceAccount/shop/one"]);
        for secret in ["cert", "one-pull", "two-pull", "none"] {
            let key = kinds::SECRET.key("shop", secret);
            assert_eq!(view.is_used_on("n1", &key), view.used_on("n1").contains(&key), "{secret}");
        }
    }

    #[test]
    fn a_node_uses_what_lets_it_into_the_volumes_of_its_pods_and_those_it_clears_away() {
        let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        let pod = json!({"spec": {"nodeName": "n1", "containers": [], "volumes": [claim("data")]}});
        let volume = |secret: &str| {
            let secret = json!({"name": secret, "namespace": "safe"});
            json!({"spec": {"csi": {"driver": "coracle.dev/s3", "volumeHandle": "h", "nodeStageSecretRef": secret}}})
        };
        let cluster = |name: &str, node: &str, mut value: Value| {
            value["apiVersion"] = "v1".into();
            value["kind"] = "PersistentVolume".into();
            value["metadata"] = json!({"name": name, "labels": {NODE_LABEL: node}});
            Object::from_value(kinds::PERSISTENT_VOLUME, &value).expect("an object")
        };
        let view = Snapshot::load(
            Revision(1),
            [
                object(kinds::POD, "a", pod),
                object(kinds::PERSISTENT_VOLUME_CLAIM, "data", json!({"spec": {"volumeName": "used"}})),
                cluster("used", "", volume("one")),
                cluster("cleared", "n1", volume("two")),
                cluster("others", "n2", volume("three")),
            ],
        );
        for (secret, expect) in [("one", true), ("two", true), ("three", false)] {
            let key = kinds::SECRET.key("safe", secret);
            assert_eq!(view.is_used_on("n1", &key), expect, "{secret}");
            assert_eq!(view.used_on("n1").contains(&key), expect, "{secret}");
        }
    }
}
