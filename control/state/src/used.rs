//! What a node needs to read: the secrets, config maps, accounts and volumes that its pods name, and the certificates of its edge.
//!
//! Nodes watch these and no others, and the API lets them: both ask here.

use std::collections::BTreeSet;

use api::{Key, Object, kinds, references};

use crate::Snapshot;

// === impl Snapshot ===

impl Snapshot {
    /// Everything that the pods of a node use, and every secret that an edge shows: each node is one.
    pub fn used_on(&self, node: &str) -> BTreeSet<Key> {
        let pods = self.pods_on(node).flat_map(references::of);
        let ingresses = self.list(kinds::INGRESS).flat_map(references::of);
        let mut used: BTreeSet<Key> = pods.chain(ingresses).collect();
        // What those name that pods name: the secrets of an account, the volume of a claim.
        let further: Vec<Key> = used.iter().filter_map(|key| self.get(key)).flat_map(references::of).collect();
        used.extend(further);
        used
    }

    /// Whether it is among them. What many pods use is found with the first of them.
    pub fn is_used_on(&self, node: &str, key: &Key) -> bool {
        let namers = || self.pods_on(node).chain(self.list(kinds::INGRESS));
        let names = |object: &Object| references::of(object).contains(key);
        if namers().any(names) {
            return true;
        }
        let mut seen = BTreeSet::new();
        let mut further = namers().flat_map(references::of).filter(|named| seen.insert(named.clone()));
        further.any(|named| self.get(&named).is_some_and(names))
    }
}

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
}
